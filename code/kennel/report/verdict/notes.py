"""What to know of a run besides what to change: what it is worth, how sure that is, and what nobody could look at."""

import math
from typing import Any

from kennel.report.advice import Advice
from kennel.report.verdict.case import Case, standard_error
from kennel.report.verdict.diagnosis import IMPROVEMENT, NOTE, Diagnosis, percent

_TRUSTED = 0.9  # of the answers given, to speak of them as answers one can leave alone
_SHAKY = 0.03  # standard error, above which one epoch is hardly told from another


def notes(case: Case, *, is_sound: bool, has_fault: bool) -> list[Diagnosis]:
    """What to know. is_sound: the result has no fault. has_fault: something else has."""
    looks = (unsure, abstaining, looks_different)
    of_sound = [worth(case, has_fault=has_fault), *(look(case) for look in looks)] if is_sound else []
    return [each for each in [*of_sound, too_few_steps(case), broken_rules(case), not_looked_at(case)] if each]


def worth(case: Case, *, has_fault: bool) -> Diagnosis | None:
    """What a sound model is worth."""
    split = "test" if math.isfinite(case.result("test")) else "valid"
    accuracy, images = case.result(split), case.images(split)
    if not math.isfinite(accuracy):
        return None
    silent = [rule for rule in case.run.rules if _is_silent(rule)]
    evidence = [f"{percent(accuracy)} of {images} {split} pictures; guessing gives {percent(case.chance)}."]
    if silent:
        steps = max(int(rule.get("steps_seen") or 0) for rule in silent)
        evidence.append(f"{len(silent)} rules found nothing, having looked at up to {steps} saved steps.")
    return _note(
        "No fault was found" if not has_fault else "Besides, the result has no fault",
        "Nothing must be changed." if not has_fault else "Nothing must be changed about the model.",
        f"The model answers {percent(accuracy)} ± {100 * standard_error(accuracy, images):.1f} points right.",
        evidence,
        source="evaluation",
    )


def _is_silent(rule: dict[str, Any]) -> bool:
    return rule.get("RuleEvaluationStatus") == "NoIssuesFound" and not rule.get("too_few")


def unsure(case: Case) -> Diagnosis | None:
    """How far the accuracy may be from that of all pictures; advice where the set is too small to choose by."""
    images, accuracy = case.images("valid"), case.result("valid")
    if not images or not math.isfinite(accuracy):
        return None
    error = standard_error(accuracy, images)
    is_shaky = error > _SHAKY
    needed = math.ceil(accuracy * (1 - accuracy) / 0.02**2) or images
    return Diagnosis(
        Advice(
            title="The validation set is too small to choose by"
            if is_shaky
            else f"Accuracies are sure to {100 * error:.1f} points",
            change=f"Validate on {max(needed, images + 1)} pictures or more: that gives 2 points."
            if is_shaky
            else "Call two trainings different only if they are further apart than that, twice.",
            gain="Choices (epoch, hyperparameters, threshold) that are not those of chance.",
            evidence=[
                f"{percent(accuracy)} of {images} validation pictures: the standard error is {100 * error:.1f} points."
            ],
            severity=IMPROVEMENT if is_shaky else NOTE,
            source="valid",
        ),
        worth=100 * error / 4,
    )


def abstaining(case: Case) -> Diagnosis | None:
    """What leaving the unsure answers to a person would give."""
    threshold = (case.run.evaluation or {}).get("abstain_threshold")
    split = "test" if case.run.predictions.get("test") else "valid"
    rows = case.run.predictions.get(split) or []
    if not threshold or not rows or not math.isfinite(case.result(split)):
        return None
    kept = [row for row in rows if float(row.get("probability") or 0.0) >= threshold]
    rights = sum(_is_right(case, row) for row in kept)
    if len(kept) < 0.1 * len(rows) or rights / len(kept) < _TRUSTED:
        return None
    return _note(
        "Unsure answers can be left to a person",
        f"Ask for abstaining below a probability of {threshold:.2f} (the archive's threshold).",
        f"{percent(rights / len(kept))} right instead of {percent(case.result(split))}, with "
        f"{percent(1 - len(kept) / len(rows))} of the pictures left to a person.",
        [f"Of {len(rows)} {split} pictures {len(kept)} are answered above it, {rights} of them right."],
        source="abstain",
    )


def _is_right(case: Case, row: dict[str, Any]) -> bool:
    classes, probabilities = (case.run.evaluation or {}).get("classes") or [], row.get("probabilities") or []
    if len(classes) != len(probabilities) or row.get("target") not in classes:
        return False
    return bool(probabilities[classes.index(row["target"])] == max(probabilities))


def looks_different(case: Case) -> Diagnosis | None:
    """Validation pictures that differ from those trained on, without being answered worse."""
    shift = case.shift
    if shift is None or not shift.is_large:
        return None
    return _note(
        "The validation pictures differ from the training pictures",
        "Look at some of both. Nothing else says that it does harm.",
        "None now.",
        [
            f"Their means lie {shift.distance:.2f} standard deviations of a picture apart; by chance "
            f"{shift.by_chance:.2f}."
        ],
        source="inputs",
    )


def too_few_steps(case: Case) -> Diagnosis | None:
    """Rules that found nothing because there was next to nothing to see."""
    blind = [rule for rule in case.run.rules if rule.get("too_few") and not _is_beside_the_point(case, rule)]
    if not blind:
        return None
    return _note(
        "Some rules saw too few steps to say anything",
        "Save more often (save_interval), or train longer.",
        "Their silence would mean something.",
        [f"{rule.get('RuleName')}: {rule.get('StatusDetails')}" for rule in blind],
        source="too_few",
    )


def _is_beside_the_point(case: Case, rule: dict[str, Any]) -> bool:
    """A rule about what this training does not have: no step more would tell it anything."""
    has_no_units = rule.get("RuleName") in ("DeadRelu", "SaturatedActivation") and not case.run.facts.get("activations")
    return has_no_units or "no GPU" in str(rule.get("StatusDetails"))


def broken_rules(case: Case) -> Diagnosis | None:
    """Rules that could not be evaluated."""
    broken = [rule for rule in case.run.rules if rule.get("RuleEvaluationStatus") == "Error"]
    if not broken:
        return None
    return _note(
        "Some rules could not be evaluated",
        "Mend what they say, and evaluate them again: scripts/debug.sh NAME.",
        "Their answers.",
        [f"{rule.get('RuleName')}: {rule.get('StatusDetails')}" for rule in broken],
        source="rules",
    )


def not_looked_at(case: Case) -> Diagnosis | None:
    """No tensors, no rules: much of the verdict rests on the history alone."""
    if case.run.trial is not None or case.run.rules:
        return None
    return _note(
        "No tensors were saved and no rule looked",
        "Train with --debug: that says far more, and costs little time.",
        "Causes instead of symptoms.",
        [f"This verdict rests on {len(case.history)} epochs and on the results."],
        source="debug",
    )


def _note(title: str, change: str, gain: str, evidence: list[str], *, source: str) -> Diagnosis:
    return Diagnosis(Advice(title, change, gain, evidence, NOTE, source))
