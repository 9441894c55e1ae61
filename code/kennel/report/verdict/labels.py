"""Labels that do not belong to their pictures: in the first epoch every picture is new to the network, so that the
accuracy it is trained at there is an honest test. What no network can answer then, and never answers on validation,
though it learns the training pictures by heart later, has no connection with the pictures.

Measured on photos (frozen ResNet-18, 800 pictures, 20 classes: chance 5 %): with shuffled labels the first epoch trains
at 5 %, the last at 38 to 99 %, validation stays at 3 to 7 %; with right ones the first epoch trains at 44 to 53 %.
"""

import math

from kennel.report.advice import Advice
from kennel.report.verdict.case import SURE, Case, standard_error
from kennel.report.verdict.diagnosis import FAULT, Diagnosis, percent

_BY_HEART = 0.1  # above the first epoch's accuracy
_EXPLAINS = (
    "Overfit",
    "Overtraining",
    "LossNotDecreasing",
    "ClassImbalance",
    "Confusion",
    "VanishingGradient",
    "PoorWeightInitialization",
)


def wrong_labels(case: Case) -> Diagnosis | None:
    """Labels of the training pictures that say nothing of them."""
    first, images = case.history[0] if case.history else {}, case.images("train")
    began = first.get("train_accuracy", math.nan)
    best_valid = _best_valid(case)
    if math.isnan(began + best_valid + case.chance) or not images:
        return None
    is_unlearnt = case.is_at_chance(began, images) and case.is_at_chance(best_valid, case.images("valid"))
    later = max(case.column("train_accuracy"), default=math.nan)
    by_heart = later - began > max(_BY_HEART, SURE * standard_error(later, images))
    if not is_unlearnt or _may_be_too_slow(case, by_heart=by_heart):
        return None
    evidence = [
        f"In the first epoch, while every picture was new, {percent(began)} of {images} training pictures were "
        f"answered right: chance is {percent(case.chance)} (± {100 * standard_error(case.chance, images):.1f} points).",
        f"The best epoch answered {percent(best_valid)} of {case.images('valid')} validation pictures right: no more.",
    ]
    if by_heart:
        evidence.append(
            f"It did learn {percent(later)} of the training pictures later, so by heart: lr and weights work."
        )
    if case.shift is not None and not case.shift.is_large:
        evidence.append(
            f"The pictures are no reason: those of validation resemble those of training (their means lie "
            f"{case.shift.distance:.2f} standard deviations apart; by chance {case.shift.by_chance:.2f})."
        )
    if case.is_pretrained is False:
        return _nothing_holds(case, evidence)
    return Diagnosis(
        Advice(
            title="The labels do not belong to their pictures",
            change="Look at a few pictures of any class folder: they are mixed up. Sort the training pictures anew, "
            "or repair the script that put names and pictures together (a list sorted on one side only is the usual "
            "cause).",
            gain=f"Everything: the model is worth what guessing is ({percent(case.chance)}).",
            evidence=evidence,
            severity=FAULT,
            source="labels",
        ),
        explains=_EXPLAINS,
    )


def _nothing_holds(case: Case, evidence: list[str]) -> Diagnosis:
    """The same of a network without trained weights: it may as well have seen too few pictures to learn from."""
    advice = Advice(
        title="Nothing was learnt that holds for new pictures",
        change="Begin with trained weights (-p weights=auto, or a weights channel). If that changes nothing, labels "
        "do not belong to their pictures: look at a few of any class folder.",
        gain=f"Everything: the model is worth what guessing is ({percent(case.chance)}).",
        evidence=evidence,
        severity=FAULT,
        source="labels",
    )
    return Diagnosis(advice, explains=_EXPLAINS)


def _best_valid(case: Case) -> float:
    known = [value for value in case.column("valid_accuracy") if math.isfinite(value)]
    return max(known, default=math.nan)


def _may_be_too_slow(case: Case, *, by_heart: bool) -> bool:
    """Whether nothing was learnt at all, so that other causes (a tiny learning rate) are as likely."""
    losses = [loss for loss in case.column("train_loss") if math.isfinite(loss)]
    moved = abs(losses[-1] - losses[0]) if losses else 0.0
    return not by_heart and moved < 0.02 * case.chance_loss and max(losses, default=0.0) <= 1.02 * case.chance_loss


def valid_labels_mixed_up(case: Case) -> Diagnosis | None:
    """Pictures that are learnt well, and a validation set of the same kind that is answered at chance."""
    first = case.history[0] if case.history else {}
    began, best_valid = first.get("train_accuracy", math.nan), _best_valid(case)
    if math.isnan(began + best_valid + case.chance) or not case.images("train"):
        return None
    is_learnt = not case.is_at_chance(began, case.images("train")) and began > 2 * case.chance
    if not is_learnt or not case.is_at_chance(best_valid, case.images("valid")):
        return None
    if case.shift is None or case.shift.is_large:
        return None  # pictures of another kind can be as bad
    test = case.result("test")
    evidence = [
        f"The first epoch answered {percent(began)} of the training pictures right while they were new; the best epoch "
        f"answers {percent(best_valid)} of {case.images('valid')} validation pictures (chance {percent(case.chance)}).",
        f"The pictures of both are of one kind: their means lie {case.shift.distance:.2f} standard deviations apart "
        f"(by chance {case.shift.by_chance:.2f}).",
    ]
    evidence += [f"Test: {percent(test)}."] if math.isfinite(test) else []
    return Diagnosis(
        Advice(
            title="The labels of the validation pictures are not those of the training pictures",
            change="Compare the class folders of train and valid: the same names must hold the same things.",
            gain="The epoch, the temperature and the threshold are then chosen on answers that count.",
            evidence=evidence,
            severity=FAULT,
            source="labels",
        ),
        explains=_EXPLAINS,
    )
