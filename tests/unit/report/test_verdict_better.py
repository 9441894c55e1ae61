import dataclasses
from typing import Any

from made_record import CLASSES, SOUND, epochs, evaluation, made_record, made_rule, made_timeline

from kennel.report.record import RunRecord
from kennel.report.verdict import Advice, verdict

Json = dict[str, Any]


def named(run: RunRecord, title: str) -> Advice | None:
    return next((advice for advice in verdict(run) if advice.title == title), None)


def test_improvements_are_ordered_by_gain_and_before_notes() -> None:
    run = made_record(settings={"image-size": 96}, evaluation=evaluation(valid=0.63, test=0.7))
    severities = [advice.severity for advice in verdict(run)]
    assert severities == sorted(severities, key=["fault", "improvement", "note"].index)
    assert verdict(run)[0].title == "The network sees small pictures"


def test_a_training_that_ended_while_improving_should_go_on() -> None:
    history = epochs(
        train_loss=[2.0, 1.0, 0.6], train=[0.47, 0.9, 0.95], valid_loss=[1.23, 1.0, 0.79], valid=[0.75, 0.82, 0.855]
    )
    run = made_record(history=history, best_epoch=3, settings={"epochs": 3}, evaluation=evaluation(valid=0.855))
    advice = named(run, "The training ended while it was still improving")
    assert advice and "-p epochs=6" in advice.change
    assert "21.0 %" in advice.gain and "3.5 points" in advice.gain
    assert named(made_record(), "The training ended while it was still improving") is None


def test_a_tiny_learning_rate_is_told_from_a_training_too_short() -> None:
    """Measured at lr=3e-6: 75 % of the validation pictures at a loss that is still that of knowing nothing."""
    history = epochs(
        train_loss=[2.99, 2.97, 2.94], train=[0.13, 0.7, 0.85], valid_loss=[2.99, 2.96, 2.92], valid=[0.45, 0.7, 0.75]
    )
    run = made_record(
        history=history, best_epoch=3, settings={"lr": 3e-6}, evaluation=evaluation(valid=0.75, test=0.81)
    )
    advice = named(run, "The training has hardly begun: its steps are too small")
    assert advice and "-p lr=3e-05" in advice.change


def test_rare_classes_that_are_answered_badly_are_named() -> None:
    paths = [f"train/{name}/{number}.jpg" for name in CLASSES for number in range(4 if name == CLASSES[0] else 40)]
    worse = evaluation()
    worse["valid"]["per_class"][0]["accuracy"] = 0.2
    advice = named(
        made_record(split={"train": paths}, evaluation=worse),
        "Some classes have far fewer training pictures than others",
    )
    assert advice and "class-weights=balanced" in advice.change
    assert "72.0 points" in advice.gain
    assert named(made_record(), "Some classes have far fewer training pictures than others") is None


def test_validation_that_flatters_is_named() -> None:
    run = made_record(evaluation=evaluation(valid=0.97, test=0.7))
    assert named(run, "The test pictures are answered much worse than the validation pictures")
    run = made_record(evaluation=evaluation(valid=0.93, test=0.9))
    assert named(run, "The test pictures are answered much worse than the validation pictures") is None


def predictions(mistakes: int) -> dict[str, list[Json]]:
    """100 answers; that many pictures of class 1 are taken for class 2."""
    rows = []
    for number in range(100):
        is_wrong = number < mistakes
        probabilities = [0.0] * 20
        probabilities[2 if is_wrong else number % 20] = 0.9
        target = CLASSES[1 if is_wrong else number % 20]
        rows.append({"path": f"{number}.jpg", "target": target, "probability": 0.9, "probabilities": probabilities})
    return {"test": rows}


def test_the_most_confused_pair_is_named_with_what_it_costs() -> None:
    advice = named(made_record(predictions=predictions(5)), "Class 1 and Class 2 are taken for each other")
    assert advice and "5.0 points of test accuracy" in advice.gain
    assert "5 of 5 mistakes" in advice.evidence[0]
    assert named(made_record(predictions=predictions(2)), "Class 1 and Class 2 are taken for each other") is None


def test_bad_calibration_is_named_where_chance_does_not_explain_it() -> None:
    title = "The probabilities are not to be taken at their word"
    assert named(made_record(evaluation=evaluation(ece_after=0.2)), title)
    assert named(made_record(evaluation=evaluation(ece_after=0.05)), title) is None


def test_features_of_a_frozen_backbone_are_the_limit_once_the_head_fits_them() -> None:
    title = "What is missing is in the features, not in the head"
    advice = named(made_record(), title)
    assert advice and "7.5 points" in advice.gain
    assert named(made_record(settings={"trainable": "all"}), title) is None


def test_a_tiny_validation_set_is_said_to_be_one() -> None:
    tiny = named(made_record(evaluation=evaluation(images=20)), "The validation set is too small to choose by")
    assert tiny and tiny.severity == "improvement"
    sure = named(made_record(), "Accuracies are sure to 2.0 points")
    assert sure and sure.severity == "note"


def test_what_abstaining_gives_is_counted() -> None:
    rows = predictions(5)
    for row in rows["test"][:5]:
        row["probability"] = 0.4
    run = made_record(predictions=rows, evaluation=evaluation(test=0.95, abstain_threshold=0.5))
    advice = named(run, "Unsure answers can be left to a person")
    assert advice and advice.gain.startswith("100.0 % right instead of 95.0 %, with 5.0 %")


def test_an_idle_gpu_is_named_and_explains_its_rules() -> None:
    system = {"metrics": [{"name": "GPU", "part": "", "p50": 5.0, "p95": 20.0}]}
    rules = [made_rule("LowGPUUtilization", kind="profiler"), made_rule("BatchSize", kind="profiler")]
    advice = named(made_record(system=system, rules=rules), "The GPU is mostly idle")
    assert advice and "batch-size=128" in advice.change
    assert len([line for line in advice.evidence if line.startswith("Rule ")]) == 2
    system = {"metrics": [{"name": "GPU", "part": "", "p50": 90.0, "p95": 99.0}]}
    assert named(made_record(system=system), "The GPU is mostly idle") is None


def test_phases_that_take_most_of_an_epoch_are_named() -> None:
    run = made_record(timeline=made_timeline(eval=30.0, checkpoint=0.1))
    assert named(run, "Much of an epoch is validation")
    assert named(run, "Much of an epoch is writing checkpoints") is None
    assert named(made_record(timeline=made_timeline(checkpoint=30.0)), "Much of an epoch is writing checkpoints")


def test_a_dear_hook_is_named() -> None:
    facts = {"is_pretrained": True, "overhead": {"seconds": 40.0, "share": 0.3, "saved_steps": 9}}
    assert named(made_record(facts=facts), "Saving tensors takes much of the time")
    assert named(made_record(), "Saving tensors takes much of the time") is None


def test_epochs_for_nothing_are_counted() -> None:
    history = SOUND + [{**SOUND[-1], "epoch": number, "seconds": 5.0} for number in range(7, 20)]
    run = made_record(history=history, settings={"patience": 0})
    advice = named(run, "The last epochs changed next to nothing")
    assert advice and "-p epochs=6" in advice.change


def test_a_rule_that_nothing_explains_is_advice_of_its_own() -> None:
    advice = named(made_record(rules=[made_rule("DeadRelu")]), "Rule DeadRelu found an issue")
    assert advice == Advice(
        "Rule DeadRelu found an issue",
        "what to do about DeadRelu",
        "what DeadRelu means",
        ["Rule DeadRelu: DeadRelu saw it at step 15 (3 times in all)"],
        "improvement",
        "DeadRelu",
    )
    grave = verdict(made_record(rules=[made_rule("ExplodingTensor")]))
    assert (grave[0].title, grave[0].severity) == ("Rule ExplodingTensor found an issue", "fault")
    assert not any("ProfilerReport" in each.title for each in verdict(made_record(rules=[made_rule("ProfilerReport")])))


def test_rules_that_saw_too_little_and_rules_that_broke_are_told() -> None:
    rules = [
        made_rule("Overfit", status="NoIssuesFound", too_few=True),
        made_rule("DeadRelu", status="NoIssuesFound", too_few=True),
        made_rule("BatchSize", status="NoIssuesFound", too_few=True, StatusDetails="no GPU was sampled"),
        made_rule("Mine", status="Error", StatusDetails="KeyError: 'x'"),
    ]
    run = made_record(rules=rules)
    blind = named(run, "Some rules saw too few steps to say anything")
    assert blind and blind.evidence == ["Overfit: Overfit looked at 30 steps"]
    broken = named(run, "Some rules could not be evaluated")
    assert broken and broken.evidence == ["Mine: KeyError: 'x'"]


def test_a_run_without_debugging_is_told_what_it_lacks() -> None:
    plain = dataclasses.replace(made_record(), trial=None, timeline={}, facts={})
    assert named(plain, "No tensors were saved and no rule looked")


def test_settings_of_another_training_are_no_reason_to_fail() -> None:
    """Hyperparameters of a script of somebody else's own, and only what every SageMaker job has."""
    others = {"lr": "1e-3,1e-4", "epochs": "many", "batch-size": None, "image-size": "224x224", "patience": "no"}
    run = made_record(settings=others, facts={}, split={}, evaluation=None, trial=None, timeline={})
    assert all(advice.severity != "fault" for advice in verdict(run))
