"""Faults: what makes a result worthless or wrong. In the order in which one hides the next.

Each function looks at one cause and answers None where it is not there. Those that come after a fault that explains
the whole result are not asked any more (see `faults`).
"""

import math
import re
from typing import Final

from kennel.report.advice import Advice
from kennel.report.verdict.case import SURE, Case, describe_setting, differs, standard_error
from kennel.report.verdict.diagnosis import FAULT, IMPROVEMENT, Diagnosis, percent
from kennel.report.verdict.labels import valid_labels_mixed_up, wrong_labels
from kennel.report.verdict.waiting import features_wait, loader_sleeps

# Of the loss of knowing nothing. Measured on photos (frozen ResNet-18, 20 classes, adamw): lr=0.003 0.7, 0.01 0.5 to
# 1.2, 0.03 1.3 to 3.9, 0.1 6 to 14; with sgd, lr=0.1 1.0, lr=1 20.
_DIVERGED: Final = 2.0
_DEFAULT_LR: Final = {"adamw": 0.003, "adam": 0.003, "sgd": 0.03}
# A validation set of another kind cost 9 to 70 points on photos; two of the same kind differ by half of this.
_KIND_POINTS: Final = 0.08
_UNLIKE_POINTS: Final = 0.15


def faults(case: Case) -> list[Diagnosis]:
    """The faults of a run, the one that spoils most first."""
    broken = bad_inputs(case) or activation_after_logits(case) or learning_rate_far_too_high(case)
    silent = None if broken else no_gradient(case)
    random = None if broken or silent else random_frozen_backbone(case)
    labels = None if broken or silent or random else wrong_labels(case) or valid_labels_mixed_up(case)
    kind = None if broken or silent or labels else another_kind(case)
    # A failure that one of these explains is told there.
    failure = None if broken else failed(case)
    halted = None if failure else stopped(case)
    asleep = loader_sleeps(case) or features_wait(case)
    found = [failure, broken, silent, labels, kind, random, halted, asleep]
    return [each for each in found if each]


def failed(case: Case) -> Diagnosis | None:
    """The job ended with an error that none of the other faults explains."""
    run = case.run
    if run.status != "Failed":
        return None
    reason = (run.failure or "").strip() or "no reason was given; the end of the log has it"
    ended = f"{len(case.history)} epochs had ended." if case.history else "No epoch had ended."
    advice = Advice(
        title="The job failed",
        change=f"Mend what it says: {reason}",
        gain="There is no result before that.",
        evidence=[reason, ended],
        severity=FAULT,
        source="status",
    )
    return Diagnosis(advice)


def stopped(case: Case) -> Diagnosis | None:
    """The job was stopped: by a rule, by a person, or by its time."""
    if case.run.status not in ("Stopped", "Stopping"):
        return None
    by = [rule for rule in case.run.rules if _stopped_it(rule)]
    evidence = [case.run.failure] if case.run.failure else []
    evidence += [f"{len(case.history)} of {case.setting('epochs', '?')} epochs had ended."]
    evidence += [f"Rule {rule.get('RuleName')} asked for it: {rule.get('StatusDetails')}" for rule in by]
    advice = Advice(
        title="The job was stopped before its end" + (f", by the rule {by[0].get('RuleName')}" if by else ""),
        change="Start it again, with what the rule says changed." if by else "Start it again: it goes on from there.",
        gain="What is said of the result is said of the epochs so far.",
        evidence=evidence,
        severity=FAULT if by else IMPROVEMENT,
        source="status",
    )
    return Diagnosis(advice, worth=math.inf)


def _stopped_it(rule: object) -> bool:
    actions = rule.get("actions") or [] if isinstance(rule, dict) else []
    return any("stop" in str(action.get("name", "")).lower() for action in actions)


def bad_inputs(case: Case) -> Diagnosis | None:
    """Numbers that are none in what the network is given: everything behind them is none either."""
    share = case.signals.inputs_nonfinite
    if share <= 0:
        return None
    advice = Advice(
        title="The network is given numbers that are none",
        change="Look for a division by zero or a logarithm of zero in what makes inputs of pictures.",
        gain="Nothing can be learnt before that.",
        evidence=[f"Up to {percent(share)} of the inputs of a training step are NaN or infinite."],
        severity=FAULT,
        source="inputs",
    )
    return Diagnosis(advice, explains=("ExplodingTensor", "LossNotDecreasing", "AllZero"))


def activation_after_logits(case: Case) -> Diagnosis | None:
    """Logits that are never negative: something stands behind the last layer that cuts them off."""
    logits = case.signals.logits
    if logits is None or logits.low < 0 or not math.isfinite(logits.high):
        return None
    name = "ReLU"
    if logits.high <= 1 and logits.zero_share < 0.01:
        is_softmax = case.classes > 0 and abs(logits.mean - 1 / case.classes) < 1e-3 / case.classes
        name = "Softmax" if is_softmax else "Sigmoid"
    silent, gradients = case.signals.silent_gradients
    evidence = [
        f"No logit was negative in {logits.steps} saved steps: they lie between {logits.low:g} and "
        f"{logits.high:.4g}, {percent(logits.zero_share)} of them exactly 0. A wrong class needs a negative one."
    ]
    if silent and silent == gradients:
        evidence.append(
            f"The gradients of all {gradients} trained tensors were exactly 0: nothing can change any more."
        )
    evidence += _learnt_little(case)
    advice = Advice(
        title=f"A {name} stands after the logits",
        change=f"Remove the {name} behind the last layer: the loss (cross entropy) takes the logits as they are.",
        gain="The network cannot learn before that: what is cut off has no gradient.",
        evidence=evidence,
        severity=FAULT,
        source="logits",
    )
    rules = ("DeadRelu", "AllZero", "VanishingGradient", "UnchangedTensor", "LossNotDecreasing", "TensorVariance")
    return Diagnosis(advice, explains=(*rules, "PoorWeightInitialization", "WeightUpdateRatio", *_WRONG_ANSWERS))


# What fires because the answers are bad, whatever made them so.
_WRONG_ANSWERS: Final = ("ClassImbalance", "Confusion", "Overfit", "Overtraining")


def _learnt_little(case: Case) -> list[str]:
    accuracy, images = case.best.get("valid_accuracy"), case.images("valid")
    if accuracy is None or not case.classes:
        return []
    loss = case.best.get("train_loss", math.nan)
    return [
        f"Best epoch: training loss {loss:.4g} (knowing nothing: {case.chance_loss:.4g}), validation accuracy "
        f"{percent(accuracy)} of {images} pictures (chance: {percent(case.chance)})."
    ]


def learning_rate_far_too_high(case: Case) -> Diagnosis | None:
    """A loss that is no number, or one far above that of knowing nothing: the steps throw the weights about."""
    evidence = _divergence(case)
    if not evidence:
        return None
    rate = case.number("lr", math.nan)
    default = _DEFAULT_LR.get(str(case.setting("optimizer", "adamw")), 0.003)
    lower = default if math.isnan(rate) else min(rate / 10, default)
    given = "" if math.isnan(rate) else f" ({rate:g})"
    advice = Advice(
        title=f"The learning rate{given} is far too high",
        change=f"Train again with {describe_setting({'lr': f'{lower:g}'})}.",
        gain="The losses below cannot come of learning: expect the accuracy that this data allows only after that.",
        evidence=evidence,
        severity=FAULT,
        source="loss",
    )
    rules = ("ExplodingTensor", "LossNotDecreasing", "WeightUpdateRatio", "PoorWeightInitialization", "TensorVariance")
    dead = ("DeadRelu", "VanishingGradient", "AllZero", "UnchangedTensor", "SaturatedActivation")
    return Diagnosis(advice, explains=(*rules, *dead, *_WRONG_ANSWERS))


def _divergence(case: Case) -> list[str]:
    evidence = []
    failure = case.run.failure or ""
    if re.search(r"no number any more|loss is (nan|inf)|non-?finite loss", failure, re.IGNORECASE):
        evidence.append(f"The training gave up: {failure.strip()}")
    epochs = [(row["epoch"], loss) for row, loss in zip(case.history, case.column("train_loss"), strict=True)]
    worst = max(((loss, epoch) for epoch, loss in epochs if math.isfinite(loss)), default=(0.0, 0))
    if worst[0] > _DIVERGED * case.chance_loss:
        evidence.append(
            f"Epoch {worst[1]:g} trained at a mean loss of {worst[0]:.4g}: {worst[0] / case.chance_loss:.1f} times the "
            f"{case.chance_loss:.4g} of knowing nothing of {case.classes} classes."
        )
    losses = case.signals.losses
    peak = max((loss for loss in losses if math.isfinite(loss)), default=0.0)
    broken = sum(not math.isfinite(loss) for loss in losses)
    if broken or (losses and peak > 2 * _DIVERGED * case.chance_loss):
        none = f", and was no number at {broken} of them" if broken else ""
        evidence.append(f"It began at {losses[0]:.4g} and rose to {peak:.4g} in {len(losses)} saved steps{none}.")
    return evidence


def no_gradient(case: Case) -> Diagnosis | None:
    """A loss that is the one of knowing nothing, to the fourth digit, in every epoch: the network does not change."""
    losses = [loss for loss in case.column("train_loss") if math.isfinite(loss)]
    silent, gradients = case.signals.silent_gradients
    is_silent = silent > 0 and silent == gradients
    is_flat = len(losses) > 1 and all(abs(loss - case.chance_loss) < 1e-4 * case.chance_loss for loss in losses)
    if not (is_silent or is_flat):
        return None
    evidence = [f"The gradients of all {gradients} trained tensors were exactly 0."] if is_silent else []
    if is_flat:
        evidence.append(
            f"The training loss was {losses[0]:.5g} to {losses[-1]:.5g} in {len(losses)} epochs; knowing nothing is "
            f"{case.chance_loss:.5g}."
        )
    advice = Advice(
        title="Nothing reaches the weights: the network never changes",
        change="Look behind the last layer for a ReLU or a detach(), and for a learning rate of almost 0 "
        f"(lr={case.setting('lr', '?')}).",
        gain="The network cannot learn before that.",
        evidence=evidence + _learnt_little(case),
        severity=FAULT,
        source="gradients",
    )
    rules = ("AllZero", "VanishingGradient", "UnchangedTensor", "LossNotDecreasing", "WeightUpdateRatio", "DeadRelu")
    return Diagnosis(advice, explains=(*rules, "PoorWeightInitialization", *_WRONG_ANSWERS))


def another_kind(case: Case) -> Diagnosis | None:
    """Validation pictures that differ from those trained on, and are answered worse for it."""
    evidence = _answered_worse(case)
    shift = case.shift
    differs_visibly = shift is not None and shift.is_large
    if shift is not None and differs_visibly:
        what = "channels of a picture" if shift.numbers <= 4 else "features that the backbone makes of a picture"
        evidence.append(
            f"The mean validation picture lies {shift.distance:.2f} standard deviations from the mean training picture "
            f"(over {shift.numbers} {what}); sets of the same kind and of these sizes lie {shift.by_chance:.2f} apart."
        )
    # Features see what a few channels do not: where they are alike, the accuracies differ for another reason.
    is_alike = shift is not None and shift.numbers > 16 and not shift.is_large
    is_unlike = not is_alike and _lags_behind_test(case, by=_UNLIKE_POINTS)
    if len(evidence) < (1 if is_unlike else 2) or not (differs_visibly or is_unlike):
        return None
    advice = Advice(
        title="The validation pictures are of another kind than the training pictures",
        change="Look at some pictures of both sets: colours, camera, size of the object, preparation. Take the "
        "validation set from the pictures that the model will be used on, and train on such pictures too (scripts "
        "that split 80:10:10 take them from one pile).",
        gain=_kind_gain(case),
        evidence=evidence,
        severity=FAULT,
        source="inputs",
    )
    return Diagnosis(advice, explains=("Overfit", "Overtraining", "LossNotDecreasing", "ClassImbalance", "Confusion"))


def _lags_behind_test(case: Case, *, by: float) -> bool:
    test, valid = (case.result("test"), case.images("test")), (case.result("valid"), case.images("valid"))
    return differs(test, valid, by=by)


def _answered_worse(case: Case) -> list[str]:
    """By what the validation pictures' accuracy lags behind: that of test, or that of training from the first epoch."""
    evidence = []
    test, valid, images = case.result("test"), case.result("valid"), case.images("valid")
    if _lags_behind_test(case, by=_KIND_POINTS):
        evidence.append(
            f"Of the validation pictures {percent(valid)} are answered right, of the test pictures {percent(test)}."
        )
    first = case.history[0] if case.history else {}
    trained, answered = first.get("train_accuracy", math.nan), first.get("valid_accuracy", math.nan)
    if differs((trained, case.images("train")), (answered, images), by=_KIND_POINTS):
        evidence.append(
            f"In the first epoch {percent(trained)} of the training pictures were answered right while they were still "
            f"new, but of the validation pictures after it {percent(answered)}: that is no overfitting."
        )
    elif not evidence and case.best:
        trained = case.best.get("train_accuracy", math.nan)
        if differs((trained, case.images("train")), (valid, images), by=_UNLIKE_POINTS):
            evidence.append(
                f"In the epoch that was kept {percent(trained)} of the training pictures are answered right, but "
                f"{percent(valid)} of the validation pictures."
            )
    return evidence


def _kind_gain(case: Case) -> str:
    test, valid = case.result("test"), case.result("valid")
    if test > valid:
        return (
            f"Up to {100 * (test - valid):.0f} points on validation ({percent(valid)}; test {percent(test)}), "
            "and the epoch, the temperature and the threshold are chosen on pictures that count."
        )
    return "The epoch, the temperature and the threshold are then chosen on pictures that count."


def random_frozen_backbone(case: Case) -> Diagnosis | None:
    """A head on features that nobody has learnt."""
    if case.is_pretrained is not False or not case.is_head_only:
        return None
    error = standard_error(case.result("valid"), case.images("valid"))
    evidence = ["The backbone began with random weights (weights=none), and trainable=head leaves them so."]
    if math.isfinite(case.result("valid")):
        evidence.append(
            f"Validation accuracy {percent(case.result('valid'))} (± {100 * SURE * error:.1f} points; chance "
            f"{percent(case.chance)})."
        )
    advice = Advice(
        title="The backbone is random and stays so",
        change="Give it trained weights (-p weights=auto, or a weights channel); without any, -p trainable=all.",
        gain="On 20 breeds of dogs a head on random features reached 12 %, on trained ones 92 %.",
        evidence=evidence,
        severity=FAULT,
        source="weights",
    )
    return Diagnosis(advice, explains=("LossNotDecreasing", "PoorWeightInitialization", *_WRONG_ANSWERS))
