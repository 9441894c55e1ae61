"""Regexes in the shapes that people publish, on the lines they are for and on those that our own training prints."""

import pytest

from kennel.local.log_file import LogEvent
from kennel.local.metric_regexes import fault_of
from kennel.local.metric_scan import MetricScan
from kennel.metrics import EPOCH_METRICS, epoch_line, final_line

VALUES = {key: 0.5 for key in EPOCH_METRICS.values()} | {"train_loss": 1.25, "valid_loss": 0.431234, "seconds": 3.21}
EPOCH = epoch_line(3, 10, VALUES)
SMALL = epoch_line(3, 10, {**VALUES, "valid_loss": 1.5e-05})
FINAL = final_line({"valid_loss": 0.4, "valid_accuracy": 0.75, "test_loss": 0.5, "test_accuracy": 0.7})
# The example of AWS's guide, "Define metrics".
GUIDE = (
    "GAN_loss=0.138318;  Scaled_reg=2.654134; disc:[-0.017371,0.102429] real 93.3% gen 0.0% disc-combined=0.000000; "
    "disc_train_loss=1.374587;  Loss = 16.020744;  Iteration 0 took 0.704s;  Elapsed=0s"
)


def read(regex: str, *lines: str) -> float | None:
    """What the local SageMaker reads from these lines."""
    scan = MetricScan([{"Name": "metric", "Regex": regex}])
    scan.feed([LogEvent(number, 0, line) for number, line in enumerate(lines)])
    return next((found["Value"] for found in scan.final_metrics()), None)


@pytest.mark.parametrize(
    ("regex", "value"),
    [
        (r"valid_loss=([0-9\.]+)", 0.431234),
        (r"valid_loss=(.*?) ", 0.431234),
        (r"valid_loss=(\S+)", 0.431234),
        (r".*valid_loss=([0-9\.]+).*", 0.431234),
        (r"valid_loss=([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)", 0.431234),
        (r"epoch=([0-9]+)", 3.0),
        (r"train_loss=([0-9]+\.[0-9]+)", 1.25),
        (r"seconds=([0-9.]+)$", 3.21),
        # the traps: what is read is a number, and not the one that was meant
        (r"loss=([0-9\.]+)", 0.431234),  # train_loss too; the last one counts
        (r"valid_loss=(\d)", 0.0),
        (r"valid_loss=(.*)", None),  # the rest of the line
        (r"Valid_loss=([0-9\.]+)", None),
    ],
)
def test_our_epoch_line_is_read_by_published_shapes(regex: str, value: float | None) -> None:
    assert read(regex, "settings lr=0.003", EPOCH) == value


def test_a_shape_without_an_exponent_reads_small_values_wrongly_and_ours_does_not() -> None:
    assert read(r"valid_loss=([0-9\.]+)", SMALL) == 1.5
    assert read(r"valid_loss=([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)", SMALL) == 1.5e-05


def test_the_last_line_counts() -> None:
    assert read(r"valid_loss=([0-9\.]+)", EPOCH, FINAL) == 0.4
    assert read(r"test_accuracy=([0-9\.]+)", EPOCH, FINAL) == 0.7


@pytest.mark.parametrize(
    ("regex", "value"),
    [
        (r"Loss = (.*?);", 16.020744),
        (r"GAN_loss=(.*?);", 0.138318),
        (r"disc_train_loss=(.*?);", 1.374587),
        (r"disc-combined=(.*?);", 0.0),
    ],
)
def test_the_guides_regexes_read_the_guides_line(regex: str, value: float) -> None:
    assert fault_of(regex) is None
    assert read(regex, GUIDE) == value


@pytest.mark.parametrize(
    ("regex", "line", "value"),
    [
        (
            r"Test set: Average loss: ([0-9\.]+)",
            "Test set: Average loss: 0.0123, Accuracy: 9912/10000 (99%)",
            0.0123,
        ),
        (r"Accuracy: (.*)", "Accuracy: 0.97", 0.97),
        (r"global_step\/sec:\s(.*)", "global_step/sec: 12.5", 12.5),
        (r"#quality_metric: host=\S+, test accuracy <score>=(\S+)",
         "#quality_metric: host=algo-1, test accuracy <score>=0.91", 0.91),
        (r".*\[[0-9]+\].*#011validation-auc:([0-9\.]+)", "[19]#011train-auc:0.99#011validation-auc:0.87", 0.87),
        (r"mse: ([0-9\.]+)", "epoch 3 mse: 7.25", 7.25),
        (r"\[J1\s+\d\.\d+\s+\d\.\d+\s+\d\.\d+\s+(\d\.\d+)", "[J1  0.1 0.2  0.3 0.95", 0.95),
        (r"^all\s+(?:[\d.]+\s+){4}([\d.]+)", "all  128 929 0.6 0.5 0.54 0.37", 0.54),
    ],
)  # fmt: skip
def test_published_regexes_read_their_own_lines(regex: str, line: str, value: float) -> None:
    assert fault_of(regex) is None
    assert read(regex, line) == value
