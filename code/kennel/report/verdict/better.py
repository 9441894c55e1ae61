"""What would make a sound model better: each with what it may gain, in points of accuracy on the validation pictures.

`worth` is that gain, where it can be counted from this run, or what the same step gained on photos of dogs, which is
said then.
"""

import math
from collections import Counter

from kennel.report.advice import Advice
from kennel.report.learning import WORTHWHILE, should_stop
from kennel.report.verdict.case import SURE, Case, describe_setting, differs, standard_error
from kennel.report.verdict.diagnosis import IMPROVEMENT, Diagnosis, percent

_TRAINED_PX = 224
_FITTED = 0.95  # of the training pictures: by heart
# Frozen ResNet-18 at 224 px, means of four seeds: 200 pictures 87.3 % test, 400 88.5, 600 90.6, 800 92.8.
_MORE_PICTURES = "On photos of dogs 40 training pictures a class in place of 20 gained 4."
_OVERFIT_GAP = 0.1
_IMBALANCE = 5.0
_SLOW = 0.5  # of the loss of knowing nothing: where a pretrained head should be below after all epochs


def improvements(case: Case) -> list[Diagnosis]:
    """What would make the model better, most gainful first."""
    looks = (
        small_pictures,
        too_few_epochs,
        too_low_rate,
        overfitting,
        imbalance,
        unlike_test,
        confused_pair,
        better_features,
        badly_calibrated,
    )
    found = [diagnosis for look in looks if (diagnosis := look(case))]
    return sorted(found, key=lambda each: -each.worth)


def small_pictures(case: Case) -> Diagnosis | None:
    """Pictures that the network sees smaller than those that its weights were trained on."""
    size = case.number("image-size", _TRAINED_PX)
    if not case.is_pretrained or size >= _TRAINED_PX:
        return None
    return Diagnosis(
        Advice(
            title="The network sees small pictures",
            change=f"Train with {describe_setting({'image-size': _TRAINED_PX})}, the size of the pretraining.",
            gain="On photos of dogs 96 px gave 70 % and 224 px 92 % of the test pictures, at four times the time.",
            evidence=[f"image-size is {size:g}; validation accuracy {percent(case.result('valid'))}."],
            severity=IMPROVEMENT,
            source="image-size",
        ),
        worth=100 * (1 - case.result("valid")) * (1 - size / _TRAINED_PX),
    )


def too_low_rate(case: Case) -> Diagnosis | None:
    """Answers that are right long before the loss falls: the steps are too small."""
    losses = [loss for loss in case.column("train_loss") if math.isfinite(loss)]
    if len(losses) < 2 or not case.best or case.best["epoch"] != case.history[-1]["epoch"]:
        return None
    accuracy = case.best.get("valid_accuracy", math.nan)
    is_above_chance = not case.is_at_chance(accuracy, case.images("valid"))
    if not is_above_chance or not losses[-1] > _SLOW * case.chance_loss or not case.is_pretrained:
        return None
    rate = case.number("lr", math.nan)
    change = f"Raise lr tenfold: {describe_setting({'lr': f'{min(rate * 10, 0.003):g}'})}." if rate < 0.003 else (
        "Train for more epochs."
    )  # fmt: skip
    return Diagnosis(
        Advice(
            title="The training has hardly begun: its steps are too small"
            if rate < 0.003
            else "It was stopped early on",
            change=change,
            gain="The loss is far from where this backbone brings it; on photos the same head gained 8 to 12 points.",
            evidence=[
                f"The training loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {len(losses)} epochs; knowing "
                f"nothing is {case.chance_loss:.4g}.",
                f"Validation accuracy is {percent(accuracy)} by then: the direction is right, the way is long.",
            ],
            severity=IMPROVEMENT,
            source="loss",
        ),
        worth=5.0,
        explains=("LossNotDecreasing", "WeightUpdateRatio", "UnchangedTensor"),
    )


def too_few_epochs(case: Case) -> Diagnosis | None:
    """The kept epoch is the last one, and the loss was still falling at a pace that counts."""
    losses = case.column("valid_loss")
    epochs = case.number("epochs", len(losses))
    if len(losses) < 2 or not case.best or case.best["epoch"] != case.history[-1]["epoch"]:
        return None
    fall = (losses[-2] - losses[-1]) / losses[-2] if losses[-2] else 0.0
    if not fall > 2 * WORTHWHILE or too_low_rate(case):
        return None
    gained = 100 * (case.column("valid_accuracy")[-1] - case.column("valid_accuracy")[-2])
    return Diagnosis(
        Advice(
            title="The training ended while it was still improving",
            change=f"Train longer: {describe_setting({'epochs': 2 * int(epochs)})} (patience ends it by itself).",
            gain=f"The last epoch alone lowered the validation loss by {percent(fall)}"
            + (f" and gained {gained:.1f} points." if gained > 0 else "."),
            evidence=[
                f"The best of {len(losses)} epochs is the last. Validation loss: "
                + ", ".join(f"{loss:.4g}" for loss in losses[-4:])
            ],
            severity=IMPROVEMENT,
            source="history",
        ),
        worth=max(2.0, gained, 100 * fall / 4),
        explains=("LossNotDecreasing",),
    )


def overfitting(case: Case) -> Diagnosis | None:
    """Training pictures that are known by heart, and a validation loss that rises for it."""
    losses, trained = case.column("valid_loss"), case.best.get("train_accuracy", math.nan)
    if not case.best or len(losses) < 2:
        return None
    valid, smallest = case.result("valid"), case.best.get("valid_loss", math.nan)
    rise = losses[-1] / smallest - 1 if smallest else 0.0
    is_apart = differs((trained, case.images("train")), (valid, case.images("valid")), by=_OVERFIT_GAP)
    has_risen = rise > 0.1
    rules = [name for name in ("Overfit", "Overtraining") if case.has_fired(name)]
    is_by_heart = max(case.column("train_accuracy"), default=0.0) >= _FITTED
    if not (is_apart and is_by_heart or has_risen or rules):
        return None
    gap = 100 * (trained - valid)
    stop = should_stop(case.history)
    evidence = [
        f"Epoch {case.best['epoch']:g} answers {percent(trained)} of the training pictures right and {percent(valid)} "
        f"of the validation pictures: {gap:.1f} points apart.",
    ]
    if has_risen:
        evidence.append(
            f"The validation loss rose by {percent(rise)} from {smallest:.4g} (epoch {case.best['epoch']:g}) to "
            f"{losses[-1]:.4g} (epoch {case.history[-1]['epoch']:g}); the best epoch was kept."
        )
    if stop:
        evidence.append(f"Stopping after epoch {stop} would have been enough.")
    return Diagnosis(
        Advice(
            title="The training pictures are learnt by heart",
            change=_against_overfitting(case),
            gain=f"Part of the {gap:.1f} points between training and validation. {_MORE_PICTURES}"
            if gap > 0
            else "Time.",
            evidence=evidence,
            severity=IMPROVEMENT,
            source=rules[0] if rules else "history",
        ),
        worth=max(gap, 0.0) / 5,
        explains=("Overfit", "Overtraining", "LossNotDecreasing"),
    )


def _against_overfitting(case: Case) -> str:
    """On photos with a frozen backbone neither views nor mixup nor smoothing nor weight decay gained a point (96 px,
    means of three seeds: plain 69.5 % test, views=4 70.0, views=8 68.3, mixup 68.2, smoothing 64.7, decay x 10 69.7).
    """
    if case.is_head_only:
        return (
            "Add training pictures. (More views, mixup and smoothing gained nothing on photos with a frozen backbone: "
            "its features are what they are.)"
        )
    values: dict[str, object] = {}
    if not case.number("mixup", 0.0):
        values["mixup"] = 0.2
    if not case.number("label-smoothing", 0.0):
        values["label-smoothing"] = 0.1
    if case.setting("trainable") == "all":
        values["trainable"] = "layer4"
    values = values or {"weight-decay": f"{min(case.number('weight-decay', 0.01) * 10, 1):g}"}
    return f"Add training pictures, or make it harder to learn by heart: {describe_setting(values)}."


def imbalance(case: Case) -> Diagnosis | None:
    """Classes with few training pictures that are answered worse than the rest."""
    counts = case.trained_counts
    rows = {row["class"]: row for row in ((case.run.evaluation or {}).get("valid") or {}).get("per_class") or []}
    if len(counts) < 2 or max(counts.values()) < _IMBALANCE * min(counts.values()):
        return None
    typical = sorted(counts.values())[len(counts) // 2]
    rare = [name for name, count in counts.items() if count <= typical / 2 and rows.get(name, {}).get("images")]
    hits = sum(rows[name]["accuracy"] * rows[name]["images"] for name in rare)
    images = sum(rows[name]["images"] for name in rare)
    rest = case.result("valid")
    behind = rest - hits / images if images else math.nan
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    evidence = [f"{largest} has {counts[largest]} training pictures, {smallest} has {counts[smallest]}."]
    if images:
        evidence.append(
            f"The {len(rare)} rare classes are answered right in {percent(hits / images)} of {images} validation "
            f"pictures, all classes in {percent(rest)}."
        )
    weighted = case.setting("class-weights", "none") == "balanced"
    return Diagnosis(
        Advice(
            title="Some classes have far fewer training pictures than others",
            change="Add pictures of the rare classes"
            + (
                "."
                if weighted
                else f", or weigh them up in the loss: {describe_setting({'class-weights': 'balanced'})}."
            ),
            gain=f"Up to {100 * behind:.1f} points on the rare classes."
            if behind > 0
            else "The rare classes are answered as well as the rest: nothing now.",
            evidence=evidence,
            severity=IMPROVEMENT,
            source="ClassImbalance" if case.has_fired("ClassImbalance") else "split",
        ),
        worth=100 * behind * len(rare) / len(counts) if behind > 0 else 0.1,
        explains=("ClassImbalance",),
    )


def unlike_test(case: Case) -> Diagnosis | None:
    """Validation answered much better than test: validation has leaked into training, or test is of another kind."""
    valid, test = (case.result("valid"), case.images("valid")), (case.result("test"), case.images("test"))
    if not differs(valid, test, by=0.1):
        return None
    return Diagnosis(
        Advice(
            title="The test pictures are answered much worse than the validation pictures",
            change="Compare both sets: test pictures of another kind, or near copies of training pictures among "
            "those of validation (kennel check finds exact ones). Believe the test accuracy.",
            gain="A number that holds where the model is used.",
            evidence=[
                f"Validation {percent(valid[0])} of {valid[1]} pictures, test {percent(test[0])} of {test[1]}: chance "
                f"explains {100 * SURE * math.hypot(standard_error(*valid), standard_error(*test)):.1f} points at most."
            ],
            severity=IMPROVEMENT,
            source="evaluation",
        ),
        worth=100 * (valid[0] - test[0]),
    )


def confused_pair(case: Case) -> Diagnosis | None:
    """Two classes that are taken for each other more often than any others."""
    split = "test" if case.run.predictions.get("test") else "valid"
    rows = case.run.predictions.get(split) or []
    mistakes = [
        tuple(sorted((str(row["target"]), str(row["answer"]))))
        for row in (_named(case, row) for row in rows)
        if row["target"] != row["answer"]
    ]
    if not mistakes:
        return None
    (one, other), count = Counter(mistakes).most_common(1)[0]
    if count < 3:
        return None
    points = 100 * count / len(rows)
    return Diagnosis(
        Advice(
            title=f"{_label(one)} and {_label(other)} are taken for each other",
            change="Look at these pictures side by side (below): labels that are wrong, or pictures that show both? "
            "If not, add training pictures of these two.",
            gain=f"Up to {points:.1f} points of {split} accuracy.",
            evidence=[f"{count} of {len(mistakes)} mistakes on {len(rows)} {split} pictures are between these two."],
            severity=IMPROVEMENT,
            source="confusion",
        ),
        worth=points / 2,
        explains=("Confusion",),
    )


def _named(case: Case, row: dict[str, object]) -> dict[str, object]:
    """A prediction with its answer as a class folder. Of equally likely classes the first."""
    probabilities, classes = row.get("probabilities"), (case.run.evaluation or {}).get("classes") or []
    target = row.get("target")
    if not isinstance(probabilities, list) or len(probabilities) != len(classes):
        return {"target": target, "answer": target}
    return {"target": target, "answer": classes[max(range(len(classes)), key=lambda index: probabilities[index])]}


def _label(folder: str) -> str:
    """ "007.Boston_terrier" as it is read."""
    return folder.split(".", 1)[-1].replace("_", " ")


def better_features(case: Case) -> Diagnosis | None:
    """A frozen backbone whose head fits the training pictures: what is missing is in the features."""
    test = case.result("test") if math.isfinite(case.result("test")) else case.result("valid")
    fitted = case.best.get("train_accuracy", 0.0)
    if not (case.is_head_only and case.is_pretrained) or not test < 0.98 or fitted < _FITTED:
        return None
    larger = "" if str(case.setting("backbone")) == "resnet50" else describe_setting({"backbone": "resnet50"})
    return Diagnosis(
        Advice(
            title="What is missing is in the features, not in the head",
            change=(f"Take a larger backbone ({larger}). " if larger else "")
            + f"With some thousand pictures, train the last stage too: {describe_setting({'trainable': 'layer4'})}.",
            gain=f"At most the {100 * (1 - test):.1f} points that are missing. On 800 photos ResNet-50 gained 1 "
            "point over ResNet-18, layer4 none.",
            evidence=[
                f"The head answers {percent(fitted)} of the training pictures right, all that its features give; of "
                f"new pictures {percent(test)}."
            ],
            severity=IMPROVEMENT,
            source="trainable",
        ),
        worth=100 * (1 - test) / 8,
    )


def badly_calibrated(case: Case) -> Diagnosis | None:
    """Probabilities that are still off after the temperature, by more than chance."""
    found = case.run.evaluation or {}
    error, images = found.get("ece_after"), case.images("valid")
    if error is None or not images or float(error) <= max(0.06, 1.3 / math.sqrt(images)):
        return None
    return Diagnosis(
        Advice(
            title="The probabilities are not to be taken at their word",
            change="Give calibration more validation pictures; smooth the labels "
            f"({describe_setting({'label-smoothing': 0.1})}).",
            gain="A threshold that keeps its promise. No accuracy.",
            evidence=[
                f"On {images} validation pictures confidence and accuracy are {percent(float(error))} apart, "
                f"with the temperature {found.get('temperature'):.3g} already applied (before: "
                f"{percent(float(found.get('ece_before') or 0.0))})."
            ],
            severity=IMPROVEMENT,
            source="calibration",
        ),
        worth=0.5,
    )
