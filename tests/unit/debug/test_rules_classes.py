"""ClassImbalance and Confusion: AWS's vector, and trainings whose labels and predictions were saved."""

from pathlib import Path

import numpy as np
import pytest
from real_runs import Data, Training, findings, fired, tell, write_trial

from kennel.debug.rules import RECOMMENDED, build_rule
from kennel.debug.tensors import Trial
from kennel.errors import UserError


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Training(saves_labels=True, epochs=3).run(tmp_path_factory.mktemp("balanced") / "out")


@pytest.fixture(scope="module")
def one_sided(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The first class has 30 times as many pictures as the last, which the net gives up."""
    data = Data(share=[0.6, 0.28, 0.1, 0.02], spread=6.0, images=512)
    return Training(saves_labels=True, data=data, epochs=3, lr=0.001).run(tmp_path_factory.mktemp("one") / "out")


def pairs(folder: Path, labels: list[int], predictions: list[int], **options: object) -> Trial:
    saved = {0: {"labels": np.array(labels), "predictions": np.array(predictions)}}
    return write_trial(folder / "trial", saved, collections={"labels": ["labels"], "predictions": ["predictions"]})


def test_990_and_10_labels_at_step_3_are_found_there(tmp_path: Path) -> None:
    labels = np.array([0] * 990 + [1] * 10)
    found = findings(write_trial(tmp_path / "trial", {3: {"labels": labels}}), build_rule("ClassImbalance", {}))
    assert list(found) == [3]
    assert (found[3][0].value, found[3][0].threshold) == (99.0, 10.0)
    assert "class 0 has 990 of 1000 labels, class 1 10: 99 to 1" in found[3][0].message


def test_fewer_labels_than_samples_say_nothing(tmp_path: Path) -> None:
    trial = write_trial(tmp_path / "trial", {3: {"labels": np.array([0] * 990 + [1] * 10)}})
    rule = build_rule("ClassImbalance", {"samples": "1001"})
    assert not findings(trial, rule)
    assert rule.account() == "looked at 1000 labels of 1 step, needs 1001 labels: nothing can be said"
    assert fired(trial, "ClassImbalance", samples="1000")
    assert not fired(trial, "ClassImbalance", samples_per_class="501")


def test_a_one_sided_training_is_found(one_sided: Trial) -> None:
    found = fired(tell(one_sided, classes=["beagle", "boxer", "collie", "pug"]), "ClassImbalance")
    assert {each.tensor for each in found} == {"labels", "predictions"}
    assert "class 3 (pug)" in next(each.message for each in found if each.tensor == "labels")
    given = dict(RECOMMENDED["ClassImbalance"])
    assert {(each.tensor, each.mode) for each in fired(one_sided, "ClassImbalance", **given)} == {("labels", "TRAIN")}


def test_a_balanced_training_is_no_imbalance(balanced: Trial) -> None:
    for parameters in ({}, dict(RECOMMENDED["ClassImbalance"])):
        rule = build_rule("ClassImbalance", parameters)
        assert not findings(balanced, rule) and not rule.too_few
    assert [check.outcome for check in rule.summary(balanced)] == ["ok"]


def test_mispredictions_are_counted_for_each_class(tmp_path: Path) -> None:
    trial = pairs(tmp_path, labels=[0] * 300 + [1] * 200, predictions=[0] * 300 + [0] * 150 + [1] * 50)
    (finding,) = fired(trial, "ClassImbalance")
    assert (finding.value, finding.threshold) == (0.75, 0.7)
    assert "class 1: 150 of 200 pictures are mispredicted, 0.75, above 0.7" in finding.message
    assert not fired(trial, "ClassImbalance", threshold_misprediction="0.75")


def test_probabilities_become_classes_by_argmax(tmp_path: Path) -> None:
    labels = np.array([0] * 300 + [1] * 300)
    saved = {0: {"labels": labels, "predictions": np.eye(2)[labels]}}
    trial = write_trial(tmp_path / "trial", saved)
    rule = build_rule("ClassImbalance", {"argmax": "True"})
    assert not findings(trial, rule)
    assert [check.name for check in rule.summary(trial)] == ["labels per class"], "predictions were judged"


def test_labels_alone_are_judged_and_said(tmp_path: Path) -> None:
    trial = write_trial(tmp_path / "trial", {0: {"labels": np.array([0, 1] * 300)}})
    rule = build_rule("ClassImbalance", {})
    assert not findings(trial, rule)
    assert [(check.name, check.outcome) for check in rule.summary(trial)][1] == ("mispredictions per class", "no data")


# --- Confusion ---


def test_a_net_that_knows_its_classes_is_not_confused(balanced: Trial, one_sided: Trial) -> None:
    late = build_rule("Confusion", {"samples": "256"})  # the last validation's pairs
    assert not findings(balanced, late, start=40) and not late.too_few
    found = fired(one_sided, "Confusion")
    assert found and {each.measure for each in found} == {"share that is right", "share of another class"}


def test_a_column_is_divided_by_its_sum(tmp_path: Path) -> None:
    """Of 10 predicted 0, 8 are; of 10 predicted 1, all are."""
    trial = pairs(tmp_path, labels=[0] * 8 + [1] * 2 + [1] * 10, predictions=[0] * 10 + [1] * 10)
    found = fired(trial, "Confusion")
    assert [(each.measure, each.value) for each in found] == [
        ("share that is right", 0.8),
        ("share of another class", 0.2),
    ]
    assert "of 10 pictures taken for class 0, 0.2 are class 1" in found[1].message
    assert not fired(trial, "Confusion", min_diag="0.8", max_off_diag="0.2")


def test_pairs_are_gathered_where_samples_asks_for_it(balanced: Trial) -> None:
    rule = build_rule("Confusion", {"samples": "320"})
    findings(balanced, rule)
    assert rule.account() == "looked at 48 steps, judged 4 times"
    assert build_rule("Confusion", {"samples": "9999"}).too_few


def test_a_class_beyond_category_no_is_an_error(tmp_path: Path) -> None:
    trial = pairs(tmp_path, labels=[0, 5], predictions=[0, 1])
    with pytest.raises(UserError, match="category_no is 2, but a label or a prediction is 5"):
        fired(trial, "Confusion", category_no="2")


def test_other_names_and_collections_can_be_given(tmp_path: Path) -> None:
    saved = {0: {"truth": np.array([0, 1]), "guess": np.array([1, 0])}}
    trial = write_trial(tmp_path / "trial", saved, collections={"mine": ["truth", "guess"]})
    assert not fired(trial, "Confusion")
    given = {"labels": "truth", "predictions": "guess", "labels_collection": "mine", "predictions_collection": "mine"}
    assert len(fired(trial, "Confusion", **given)) == 4


@pytest.mark.parametrize("name", ["ClassImbalance", "Confusion"])
def test_without_labels_nothing_is_said(tmp_path: Path, name: str) -> None:
    not_finite = {0: {"labels": np.array([np.nan, 1.0]), "predictions": np.array([0, 1])}}
    for trial in (Trial(tmp_path / "none"), write_trial(tmp_path / "a", {0: {"x": 1.0}}),
                  write_trial(tmp_path / "b", not_finite)):  # fmt: skip
        rule = build_rule(name, {})
        assert not findings(trial, rule)
        assert rule.too_few and "nothing can be said" in rule.account()
        assert rule.summary(trial)[0].outcome == "no data"
