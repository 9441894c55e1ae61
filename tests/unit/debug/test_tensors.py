"""The trial, on files that smdebug itself wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kennel.debug.quiet import quiet_import
from kennel.debug.statistics import describe_array, unit_activity, update_ratio
from kennel.debug.tensors import FACTS_FILE, Trial, open_trial
from kennel.errors import ContractError, UserError
from kennel.rule_files import END_FILE

with quiet_import():
    import smdebug.pytorch as smd

Write = Callable[..., list[dict[str, np.ndarray]]]


class Network(nn.Module):
    """smdebug calls its activation `relu`, as in torchvision's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(self.relu(self.first(features)))


def new_hook(folder: Path, **options: object) -> smd.Hook:
    options.setdefault("save_config", smd.SaveConfig(save_interval=1))
    return smd.Hook(out_dir=str(folder), **options)


def train(
    hook: smd.Hook, *, epochs: int = 2, between: Callable[[], None] = lambda: None
) -> list[dict[str, np.ndarray]]:
    """Two steps of training and one of evaluation an epoch; the weights and gradients of every training step."""
    torch.manual_seed(0)
    network, criterion, saved = Network(), nn.CrossEntropyLoss(), []
    hook.register_module(network)
    hook.register_loss(criterion)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(epochs):
        hook.set_mode(smd.modes.TRAIN)
        for _ in range(2):
            values = {"Network_last.weight": network.last.weight.detach().numpy().copy()}
            optimizer.zero_grad()
            criterion(network(torch.randn(8, 6)), torch.randint(3, (8,))).backward()
            values["gradient/Network_last.weight"] = network.last.weight.grad.numpy().copy()
            saved.append(values)
            optimizer.step()
        hook.set_mode(smd.modes.EVAL)
        criterion(network(torch.randn(8, 6)), torch.randint(3, (8,)))
        between()
    hook.close()
    return saved


@pytest.fixture
def raw(tmp_path: Path) -> tuple[Trial, list[dict[str, np.ndarray]]]:
    """Raw tensors of four steps of training and two of evaluation."""
    hook = new_hook(tmp_path / "out", include_collections=["weights", "gradients"], include_regex=["relu_output"])
    saved = train(hook)
    return open_trial(tmp_path / "out"), saved


def test_steps_count_within_their_mode_and_over_all(raw: tuple[Trial, Any]) -> None:
    trial, _ = raw
    assert trial.steps() == [0, 1, 2, 3, 4, 5]
    assert trial.steps("TRAIN") == [0, 1, 2, 3]
    assert trial.steps("EVAL") == [0, 1]
    assert trial.steps_of("CrossEntropyLoss_output_0", "EVAL") == [0, 1]
    assert trial.steps_of("gradient/Network_last.weight") == [0, 1, 3, 4]  # an evaluation has no gradients


def test_raw_values_are_read_back_and_described(raw: tuple[Trial, list[dict[str, np.ndarray]]]) -> None:
    trial, saved = raw
    for step, values in enumerate(saved):
        for name, expected in values.items():
            np.testing.assert_array_equal(trial.value(name, step, "TRAIN"), expected)
            for which, number in describe_array(expected).items():
                assert trial.statistic(name, step, which, "TRAIN") == number
    assert trial.value("Network_last.weight", 3) is not None  # GLOBAL: the third step of training
    np.testing.assert_array_equal(trial.value("Network_last.weight", 3), saved[2]["Network_last.weight"])


def test_update_ratio_is_since_the_last_saved_step_of_the_mode(raw: tuple[Trial, list[dict[str, np.ndarray]]]) -> None:
    trial, saved = raw
    name = "Network_last.weight"
    expected = update_ratio(saved[1][name], saved[2][name])
    assert expected is not None and expected > 0
    assert trial.statistic(name, 2, "update_ratio", "TRAIN") == expected
    assert trial.statistic(name, 3, "update_ratio") == expected
    assert trial.statistic(name, 0, "update_ratio", "TRAIN") is None


def test_activity_is_the_share_of_positive_outputs_of_a_unit(raw: tuple[Trial, Any]) -> None:
    trial, _ = raw
    output = trial.value("relu_output_0", 0, "TRAIN")
    assert output is not None and output.shape == (8, 5)
    np.testing.assert_array_equal(trial.activity("relu_output_0", 0, "TRAIN"), (output > 0).mean(axis=0))
    pictures = np.stack([np.full((2, 2), -1.0), np.full((2, 2), 1.0)])[None]
    assert unit_activity(pictures).tolist() == [0.0, 1.0]


def test_names_are_found_by_collection_and_by_regex(raw: tuple[Trial, Any]) -> None:
    trial, _ = raw
    assert trial.names(collection="gradients") == sorted(
        f"gradient/Network_{layer}.{kind}" for layer in ("first", "last") for kind in ("weight", "bias")
    )
    assert trial.names(collection="losses") == ["CrossEntropyLoss_output_0"]
    assert trial.names(regex=".*relu_output") == ["relu_output_0"]
    assert trial.names(collection="no such collection") == []
    with pytest.raises(UserError, match=r"'\(' is no regular expression"):
        trial.names(regex="(")


def test_what_is_not_there_is_none(raw: tuple[Trial, Any]) -> None:
    trial, _ = raw
    assert trial.steps_of("no such tensor") == []
    assert trial.value("no such tensor", 0) is None
    assert trial.value("Network_last.weight", 99) is None
    assert trial.statistic("gradient/Network_last.weight", 2, "mean") is None  # step 2 is one of evaluation
    with pytest.raises(UserError, match="no statistic 'median'"):
        trial.statistic("Network_last.weight", 0, "median")
    with pytest.raises(UserError, match="no mode 'train'"):
        trial.steps("train")


def test_reductions_of_smdebug_are_statistics_too(tmp_path: Path) -> None:
    reductions = smd.ReductionConfig(reductions=["min", "max", "variance"], abs_reductions=["mean"], norms=["l2"])
    hook = new_hook(tmp_path / "out", include_collections=["gradients"], reduction_config=reductions)
    saved = train(hook)
    trial = open_trial(tmp_path / "out")
    name = "gradient/Network_last.weight"
    assert trial.value(name, 1, "TRAIN") is None
    expected = describe_array(saved[1][name])
    for which in ("min", "max", "abs_mean", "l2"):
        assert trial.statistic(name, 1, which, "TRAIN") == pytest.approx(expected[which], rel=1e-5)
    unbiased = expected["variance"] * 15 / 14  # torch's, over 15 elements
    assert trial.statistic(name, 1, "std", "TRAIN") == pytest.approx(unbiased**0.5, rel=1e-5)
    assert trial.statistic(name, 1, "p5", "TRAIN") is None
    assert trial.activity(name, 1, "TRAIN") is None


def test_a_training_that_still_runs_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    folder, seen = tmp_path / "out", []
    trial = open_trial(folder)
    assert trial.steps() == [] and trial.names() == [] and not trial.is_complete

    def look() -> None:
        trial.refresh()
        seen.append(len(trial.steps()))

    train(new_hook(folder, include_collections=["weights"]), epochs=4, between=look)
    assert seen == sorted(seen) and 0 < seen[1] < seen[3] < 12
    trial.refresh()
    assert len(trial.steps()) == 12
    (folder / END_FILE).touch()
    assert trial.is_complete


def test_facts_are_what_the_hook_wrote_of_the_training(tmp_path: Path) -> None:
    assert open_trial(tmp_path).facts == {}
    (tmp_path / FACTS_FILE).write_text(json.dumps({"version": 1, "classes": ["a", "b"]}))
    assert open_trial(tmp_path).facts["classes"] == ["a", "b"]
    (tmp_path / FACTS_FILE).write_text("{")
    with pytest.raises(ContractError, match="kennel.json is not JSON"):
        open_trial(tmp_path)


def test_an_event_file_that_was_not_copied_leaves_its_values_out(tmp_path: Path, raw: tuple[Trial, Any]) -> None:
    trial, _ = raw
    (tmp_path / "out" / END_FILE).touch()
    for path in (tmp_path / "out" / "events").rglob("*.tfevents"):
        path.unlink()
    assert trial.value("Network_last.weight", 0) is None


def test_a_broken_index_is_named(tmp_path: Path, raw: tuple[Trial, Any]) -> None:
    next((tmp_path / "out" / "index").rglob("*.json")).write_text("{")
    with pytest.raises(ContractError, match=f"The tensors in {tmp_path / 'out'} cannot be read.*Corrupt"):
        open_trial(tmp_path / "out")


def test_numbers_that_are_none_are_counted() -> None:
    found = describe_array(np.array([0.0, np.nan, np.inf, 1.0], dtype=np.float32))
    assert found["nonfinite_share"] == 0.5 and found["nan_share"] == 0.25 and found["zero_share"] == 0.25
    assert np.isnan(found["mean"])
    assert describe_array(np.empty(0)) == {}


def test_percentiles_of_very_many_elements_are_those_of_some() -> None:
    values = np.random.default_rng(0).standard_normal(3_000_000).astype(np.float32)
    assert describe_array(values)["p95"] == pytest.approx(np.percentile(values, 95), abs=0.01)


def test_smdebug_says_nothing_on_stdout(tmp_path: Path) -> None:
    train(new_hook(tmp_path / "out", include_collections=["weights"]), epochs=1)
    program = (
        "import os, sys; from pathlib import Path; from kennel.debug.tensors import open_trial; "
        "t = open_trial(Path(sys.argv[1])); t.names(collection='biases'); t.value('x', 0); "
        "assert 'SMDEBUG_LOG_LEVEL' not in os.environ; assert t.steps()"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
