import math
from typing import Any

import pytest
from made_record import SOUND, epochs, evaluation, made_record, made_rule, made_timeline, made_trial

from kennel.report.record import RunRecord
from kennel.report.verdict import Advice, verdict

KIND = "The validation pictures are of another kind than the training pictures"
LABELS = "The labels do not belong to their pictures"
SLEEPS = "The data loader sleeps: training waits for its data"


def first(run: RunRecord) -> Advice:
    advice = verdict(run)[0]
    assert advice.evidence and advice.change and advice.gain
    return advice


def faults(run: RunRecord) -> list[str]:
    return [advice.title for advice in verdict(run) if advice.severity == "fault"]


def test_a_sound_run_has_no_fault_and_says_what_it_is_worth() -> None:
    advice = verdict(made_record(rules=[made_rule("Overfit", status="NoIssuesFound")]))
    assert {each.severity for each in advice} == {"improvement", "note"}
    found = next(each for each in advice if each.title == "No fault was found")
    assert "92.5 % ± 1.9 points" in found.gain
    assert "1 rules found nothing, having looked at up to 30 saved steps." in found.evidence


HIGH = epochs(
    train_loss=[3600.0, 514.0, 249.0],
    train=[0.25, 0.51, 0.58],
    valid_loss=[46.0, 52.0, 49.0],
    valid=[0.45, 0.39, 0.42],
)


def test_a_learning_rate_far_too_high_explains_the_rules_that_fire_for_it() -> None:
    rules = [made_rule(name) for name in ("LossNotDecreasing", "ExplodingTensor", "WeightUpdateRatio")]
    trial = made_trial(losses=(2.99, 6026.0, 5450.0, 1844.0))
    run = made_record(settings={"lr": 1.0}, history=HIGH, best_epoch=1, rules=rules, trial=trial)
    assert faults(run) == ["The learning rate (1) is far too high"]
    advice = first(run)
    assert "-p lr=0.003" in advice.change
    assert "Epoch 1 trained at a mean loss of 3600: 1201.7 times the 2.996 of knowing nothing" in advice.evidence[0]
    assert "It began at 2.99 and rose to 6026 in 4 saved steps." in advice.evidence
    assert [line for line in advice.evidence if line.startswith("Rule ")] == [
        f"Rule {rule['RuleName']}: {rule['RuleName']} saw it at step 15 (3 times in all)" for rule in rules
    ]


@pytest.mark.parametrize(("optimizer", "lower"), [("adamw", "0.003"), ("sgd", "0.03")])
def test_a_job_that_failed_by_its_learning_rate_is_named_by_the_cause(optimizer: str, lower: str) -> None:
    failure = "HyperparameterError: The loss is no number any more in epoch 1: lr=10 is too high for this network."
    run = made_record(
        status="Failed",
        failure=failure,
        settings={"lr": 10.0, "optimizer": optimizer},
        history=[],
        best_epoch=None,
        evaluation=None,
        trial=made_trial(losses=(2.99, 1e9, math.nan, math.nan)),
    )
    advice = first(run)
    assert advice.title == "The learning rate (10) is far too high"
    assert f"-p lr={lower}." in advice.change
    assert any("was no number at 2 of them" in line for line in advice.evidence)
    assert faults(run) == [advice.title]


def test_a_rate_that_costs_a_little_is_no_fault() -> None:
    """Measured at lr=0.01: the first epoch trains at 1.2 times the loss of knowing nothing, and all is well after."""
    history = [{**SOUND[0], "train_loss": 3.53}, *SOUND[1:]]
    assert faults(made_record(history=history, settings={"lr": 0.01})) == []


SHUFFLED = epochs(
    train_loss=[3.57, 2.65, 2.0, 1.6, 1.37],
    train=[0.05, 0.24, 0.4, 0.55, 0.64],
    valid_loss=[3.65, 3.63, 3.7, 3.9, 4.12],
    valid=[0.04, 0.03, 0.055, 0.05, 0.055],
)


def shuffled(**changes: Any) -> RunRecord:  # noqa: ANN401
    made: dict[str, Any] = {"history": SHUFFLED, "best_epoch": 2, "evaluation": evaluation(valid=0.03, test=0.04)}
    return made_record(**made | changes)


def test_shuffled_labels_are_told_from_overfitting() -> None:
    run = shuffled(rules=[made_rule("Overfit"), made_rule("LossNotDecreasing")])
    assert faults(run) == [LABELS]
    advice = first(run)
    assert "5.0 % of 800 training pictures" in advice.evidence[0]
    assert any("by heart" in line for line in advice.evidence)
    assert any("resemble" in line for line in advice.evidence)
    assert not any("learnt by heart" in each.title for each in verdict(run))


def test_labels_are_not_accused_where_the_first_epoch_learns() -> None:
    history = [{**row, "train_accuracy": max(row["train_accuracy"], 0.44)} for row in SHUFFLED]
    assert LABELS not in faults(shuffled(history=history))


def test_a_network_without_trained_weights_may_have_seen_too_few_pictures() -> None:
    run = shuffled(facts={"is_pretrained": False}, settings={"trainable": "all"})
    assert faults(run) == ["Nothing was learnt that holds for new pictures"]


def test_validation_labels_of_other_classes_are_told_from_pictures_of_another_kind() -> None:
    history = [{**row, "valid_accuracy": 0.05} for row in SOUND]
    run = made_record(history=history, evaluation=evaluation(valid=0.05, test=0.93))
    assert faults(run)[0] == "The labels of the validation pictures are not those of the training pictures"


OTHER = epochs(
    train_loss=[1.99, 0.67, 0.2, 0.14],
    train=[0.47, 0.91, 0.98, 0.99],
    valid_loss=[2.45, 2.29, 2.4, 2.46],
    valid=[0.255, 0.32, 0.31, 0.315],
)


def test_a_validation_set_of_another_kind_is_told_from_overfitting() -> None:
    run = made_record(
        history=OTHER,
        best_epoch=2,
        evaluation=evaluation(valid=0.32, test=0.91),
        trial=made_trial(shift=0.45),
        rules=[made_rule("Overfit")],
    )
    assert faults(run) == [KIND]
    advice = first(run)
    assert "59 points" in advice.gain
    assert any("that is no overfitting" in line for line in advice.evidence)
    assert any("0.4" in line and "512 features" in line for line in advice.evidence)


def test_another_kind_is_seen_without_tensors_where_the_test_pictures_are_answered_well() -> None:
    run = made_record(history=OTHER, best_epoch=2, evaluation=evaluation(valid=0.32, test=0.91), trial=None)
    assert faults(run) == [KIND]


def test_another_kind_is_seen_where_there_are_no_test_pictures() -> None:
    run = made_record(
        history=OTHER, best_epoch=2, evaluation=evaluation(valid=0.32, test=None), trial=made_trial(shift=0.45)
    )
    assert faults(run) == [KIND]


def test_sets_whose_features_are_alike_are_of_one_kind_whatever_the_accuracies() -> None:
    history = [{**row, "train_accuracy": 0.3, "valid_accuracy": 0.32} for row in SOUND]
    run = made_record(history=history, evaluation=evaluation(valid=0.32, test=0.6), trial=made_trial(shift=0.0))
    assert faults(run) == []


def test_overfitting_on_pictures_of_one_kind_is_no_fault() -> None:
    history = epochs(
        train_loss=[1.9, 0.7, 0.3, 0.1],
        train=[0.44, 0.8, 0.96, 1.0],
        valid_loss=[1.43, 1.26, 1.22, 1.5],
        valid=[0.56, 0.6, 0.63, 0.61],
    )
    run = made_record(
        history=history, best_epoch=3, evaluation=evaluation(valid=0.63, test=0.7), rules=[made_rule("Overfit")]
    )
    assert faults(run) == []
    advice = next(each for each in verdict(run) if each.title == "The training pictures are learnt by heart")
    assert any(line.startswith("Rule Overfit") for line in advice.evidence)
    assert any("33.0 points apart" in line for line in advice.evidence)


def test_a_difference_in_pictures_that_does_no_harm_is_a_note() -> None:
    advice = verdict(made_record(trial=made_trial(shift=0.4)))
    assert [each.severity for each in advice if "differ from the training pictures" in each.title] == ["note"]


@pytest.mark.parametrize(
    ("logits", "zero_share", "name"),
    [((0.0, 5.0, 1.0), 0.6, "ReLU"), ((0.0, 0.97, 0.05), 0.0, "Softmax"), ((0.01, 0.97, 0.2), 0.0, "Sigmoid")],
)
def test_what_stands_after_the_logits_is_named(
    logits: tuple[float, float, float], zero_share: float, name: str
) -> None:
    run = made_record(trial=made_trial(logits=logits, zero_share=zero_share), rules=[made_rule("DeadRelu")])
    assert faults(run) == [f"A {name} stands after the logits"]


FLAT = epochs(train_loss=[2.99573] * 4, train=[0.05] * 4, valid_loss=[2.99573] * 4, valid=[0.05] * 4)


def test_a_relu_behind_a_head_of_zeros_is_told_from_shuffled_labels() -> None:
    rules = [made_rule("VanishingGradient"), made_rule("UnchangedTensor"), made_rule("LossNotDecreasing")]
    run = made_record(
        history=FLAT,
        best_epoch=1,
        evaluation=evaluation(valid=0.05, test=0.05),
        trial=made_trial(logits=(0.0, 0.0, 0.0), zero_share=1.0, gradient=0.0),
        rules=rules,
    )
    assert faults(run) == ["A ReLU stands after the logits"]
    advice = first(run)
    assert any("gradients of all 1 trained tensors were exactly 0" in line for line in advice.evidence)
    assert len([line for line in advice.evidence if line.startswith("Rule ")]) == 3


def test_a_network_that_never_changes_is_seen_in_its_loss_alone() -> None:
    run = made_record(history=FLAT, best_epoch=1, evaluation=evaluation(valid=0.05, test=0.05), trial=None)
    assert faults(run) == ["Nothing reaches the weights: the network never changes"]


def test_inputs_that_are_no_numbers_come_before_what_follows_from_them() -> None:
    run = made_record(
        status="Failed",
        failure="The loss is no number any more in epoch 1",
        trial=made_trial(nonfinite=0.01, losses=(math.nan, math.nan)),
    )
    assert faults(run) == ["The network is given numbers that are none"]


def test_a_loader_that_sleeps_is_first_though_the_model_is_sound() -> None:
    run = made_record(timeline=made_timeline(data_wait=25.0), rules=[made_rule("Dataloader", kind="profiler")])
    advice = first(run)
    assert (advice.title, advice.severity) == (SLEEPS, "fault")
    assert "25.0 s of 27.7 s" in advice.evidence[0]
    assert any("no picture is read in a step" in line for line in advice.evidence)
    assert any(line.startswith("Rule Dataloader") for line in advice.evidence)
    assert any(each.title == "Besides, the result has no fault" for each in verdict(run))


def test_cores_that_decode_are_no_loader_that_sleeps() -> None:
    timeline = made_timeline(data_wait=25.0)
    del timeline["phases"]["features"]
    busy = {"metrics": [{"name": "CPU", "part": "", "p50": 97.0, "p95": 99.0}]}
    run = made_record(timeline=timeline, system=busy, facts={"is_pretrained": True})
    assert faults(run) == []
    assert any(each.title == "Training waits for pictures to be read" for each in verdict(run))


def test_pictures_that_come_slowly_to_a_frozen_backbone_are_told_by_what_the_cores_did() -> None:
    timeline = made_timeline(features=60.0) | {"within": {"features": {"data_wait": 50.0, "forward": 10.0}}}
    timeline["phases"]["features"] = 60.0
    idle, busy = ({"metrics": [{"name": "CPU", "part": "", "p50": use}]} for use in (12.0, 98.0))
    assert faults(made_record(timeline=timeline, system=idle)) == [SLEEPS]
    run = made_record(timeline=timeline, system=busy)
    assert faults(run) == []
    assert any(each.title == "Reading the pictures takes longer than looking at them" for each in verdict(run))


def test_waits_too_short_to_matter_are_not_told() -> None:
    assert faults(made_record(timeline=made_timeline(data_wait=1.2, forward=0.3, backward=0.3, optimizer=0.1))) == []


def test_a_random_backbone_that_stays_so_is_named() -> None:
    run = made_record(facts={"is_pretrained": False}, evaluation=evaluation(valid=0.12, test=0.12))
    assert "The backbone is random and stays so" in faults(run)
    assert faults(made_record(facts={"is_pretrained": False}, settings={"trainable": "all"})) == []


def test_a_failed_job_says_its_reason_first() -> None:
    reason = "DataError: Channel 'train' is empty"
    run = made_record(status="Failed", failure=reason, history=[], best_epoch=None, evaluation=None, trial=None)
    assert first(run).title == "The job failed"
    assert reason in first(run).evidence


def test_a_rule_that_stopped_the_job_is_named() -> None:
    rule = made_rule("Overfit", actions=[{"name": "StopTraining", "outcome": "stopped"}])
    run = made_record(status="Stopped", rules=[rule])
    assert first(run).title == "The job was stopped before its end, by the rule Overfit"
    assert verdict(made_record(status="Stopped"))[0].severity == "improvement"


def test_an_empty_run_gets_a_verdict_without_an_error() -> None:
    assert [each.title for each in verdict(RunRecord(name="empty", status="Unknown"))] == [
        "No tensors were saved and no rule looked"
    ]
