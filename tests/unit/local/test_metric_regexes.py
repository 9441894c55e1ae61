"""Regexes of published SageMaker examples pass; those that can never give a number are told why."""

import re

import pytest

from kennel.local.metric_regexes import check_metrics, fault_of
from kennel.metrics import metric_definitions

# As found in AWS's guide, its SDK, its built-in algorithms and public projects.
PUBLISHED = [
    r"Loss = (.*?);",
    r"disc-combined=(.*?);",
    r"Test set: Average loss: ([0-9\.]+)",
    r"validation_pr_auc=([0-9\\.]+)",
    r"validation-accuracy=(\d\.\d+)",
    r"valid_loss=([0-9]+\.[0-9]+)",
    r"Accuracy: (.*)",
    r"global_step\/sec:\s(.*)",
    r".*loss: ([0-9\.]+)",
    r".*train:loss ([0-9\.]+).*",
    r".*\[[0-9]+\].*#011validation-auc:([0-9\.]+)",
    r".*\[[0-9]+\].*#011train-mae:([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?).*",
    r"#quality_metric: host=\S+, test accuracy <score>=(\S+)",
    r"validation[-:]auc[:=]([0-9\.]+)",
    r"validation:loss.*value=([0-9\.]+)",
    r"\[J1\s+\d\.\d+\s+\d\.\d+\s+\d\.\d+\s+(\d\.\d+)",
    r"^all\s+(?:[\d.]+\s+){4}([\d.]+)",
    r"Average Precision  \(AP\) \@\[ IoU=0.50:0.95 \| area=   all \| maxDets=100 \] = ([0-9\.]+)",
    r"Lift \(candidate all classes\) over momentum: (.*?);",
    r"episode_reward_mean: ([0-9\.]+)",
]
UNUSUAL = [
    r"reward=([0-9]+)",
    r"stage (\d)",
    r"loss=([0-9.]*)",
    r"loss=(.*?)$",
    r"loss=(.*?)(?:\s|$)",
    r"loss=(?P<value>[0-9.]+)",
    r"(?i)LOSS=([0-9.]+)%",
    r"(?<=loss=)([0-9.]+)(?=;)",
    r"loss=(\d{3}\.\d{2})",
    r"(?:no loss|loss=([0-9.]+))",
    r"(?:[^;]*;){3}loss=([^;]+);",
    r"x{300}=([0-9.]+)",
]


@pytest.mark.parametrize("regex", [*PUBLISHED, *UNUSUAL])
def test_regex_that_can_read_numbers_passes(regex: str) -> None:
    assert fault_of(regex) is None


def test_own_metrics_pass() -> None:
    check_metrics([dict(each) for each in metric_definitions()])


@pytest.mark.parametrize(
    ("regex", "fault"),
    [
        ("loss=[0-9.]+", "it has no group. Put the number in parentheses"),
        (r"(loss|error)=([0-9.]+)", "it has 2 groups, and only one can hold the number. Write the others as (?:...)"),
        ("loss=([0-9.]+", "missing ), unterminated subpattern at position 5. Correct it"),
        ("(.*)", "it matches the empty string, which is in every line"),
        ("([0-9.]*)", "it matches the empty string, which is in every line"),
        ("(?:loss=([0-9.]+))?", "it matches the empty string, which is in every line"),
        ("loss=([0-9]*)", "its group takes the empty string, and not a number such as 0.8125"),
        ("F1=(.*?)", "from the line 'F1=0.8125' it reads the empty string and not 0.8125"),
        ("F1=(.*?).*", "from the line 'F1=0.8125' it reads the empty string and not 0.8125"),
        ("F1=(.+?)", "from the line 'F1=0.8125' it reads '0' and not 0.8125"),
        (".*loss.*([0-9.]+)", "from the line 'loss0.8125' it reads '5' and not 0.8125"),
        (r"loss=(\w+)", "its group takes a word, and not a number such as 0.8125"),
        ("loss=([A-Za-z0-9_]+)", "its group takes a word, and not a number such as 0.8125"),
        ("loss=([a-z]+)", "its group takes no digit: what it reads is a word or nothing, never a number"),
        ("loss=(high|low)", "its group takes no digit: what it reads is a word or nothing, never a number"),
        (r"loss=(\D+)", "its group takes no digit: what it reads is a word or nothing, never a number"),
        ("loss=()", "its group takes no digit: what it reads is a word or nothing, never a number"),
    ],
)
def test_regex_that_never_reads_a_number_is_refused(regex: str, fault: str) -> None:
    assert str(fault_of(regex)).startswith(fault)


def test_refusal_names_metric_and_regex_with_a_remedy() -> None:
    definitions = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}, {"Name": "f1", "Regex": "F1=(.*?)"}]
    words = "Invalid regex 'F1=(.*?)' of metric 'f1': from the line 'F1=0.8125' it reads the empty string and not"
    with pytest.raises(Exception, match=re.escape(words)) as caught:
        check_metrics(definitions)
    assert str(caught.value).endswith(
        "Put a pattern of the number in the group, such as ([0-9.]+), or what follows the number after it."
    )
