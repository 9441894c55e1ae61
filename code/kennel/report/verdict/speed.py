"""What would make a training faster: each with the share of the time it costs. None of it changes the accuracy."""

from kennel.report.advice import Advice
from kennel.report.learning import should_stop
from kennel.report.verdict.case import Case, describe_setting
from kennel.report.verdict.diagnosis import IMPROVEMENT, NOTE, Diagnosis, percent
from kennel.report.verdict.waiting import data_is_slow, loop_phases, metric

_LARGE = 0.3
_WORTH_SECONDS = 10.0
_LOW_GPU = 50.0


def speed(case: Case) -> list[Diagnosis]:
    """What would make it faster, the largest share first."""
    looks = (data_is_slow, low_gpu, validating_long, checkpointing_long, hook_is_dear, epochs_for_nothing)
    found = [diagnosis for look in looks if (diagnosis := look(case))]
    return sorted(found, key=lambda each: -each.worth)


def low_gpu(case: Case) -> Diagnosis | None:
    """A GPU that is mostly idle."""
    use = metric(case, "GPU")
    if not use or float(use.get("p95") or 0.0) >= _LOW_GPU:
        return None
    memory, size = metric(case, "GPU memory"), case.number("batch-size", 32)
    return Diagnosis(
        Advice(
            title="The GPU is mostly idle",
            change=f"Raise the batch: {describe_setting({'batch-size': 4 * int(size)})} (and lr with it); or take a "
            "machine without a GPU: a head on frozen features needs none.",
            gain="A shorter, or a cheaper run.",
            evidence=[
                f"GPU use: median {use.get('p50', 0):.0f} %, 95 % of the time below {use.get('p95', 0):.0f} %"
                + (f"; its memory below {memory['p95']:.0f} %." if memory else ".")
            ],
            severity=IMPROVEMENT,
            source="LowGPUUtilization",
        ),
        worth=1 - float(use.get("p95") or 0.0) / 100,
        explains=("LowGPUUtilization", "BatchSize"),
    )


def _long(case: Case, phase: str) -> tuple[float, float] | None:
    """(share, seconds) of a phase of the epochs, if it is worth a word."""
    phases = loop_phases(case)
    seconds, whole = phases.get(phase, 0.0), sum(phases.values())
    return (seconds / whole, seconds) if whole and seconds > max(_WORTH_SECONDS, _LARGE * whole) else None


def validating_long(case: Case) -> Diagnosis | None:
    """Epochs that are mostly validation."""
    found = _long(case, "eval")
    if not found:
        return None
    train, valid = case.images("train"), case.images("valid")
    evidence = [f"Validation took {found[1]:.1f} s, {percent(found[0])} of the epochs' time."]
    evidence += [f"{valid} pictures are validated for {train} trained on."] if train and valid else []
    advice = Advice(
        title="Much of an epoch is validation",
        change="Move pictures from valid to train, if valid has more than it needs.",
        gain=f"Part of {found[1]:.0f} s.",
        evidence=evidence,
        severity=IMPROVEMENT,
        source="eval",
    )
    return Diagnosis(advice, worth=found[0])


def checkpointing_long(case: Case) -> Diagnosis | None:
    """Epochs that are mostly the writing of checkpoints."""
    found = _long(case, "checkpoint")
    if not found:
        return None
    advice = Advice(
        title="Much of an epoch is writing checkpoints",
        change="Put the checkpoints on a faster disk; freeze what need not be trained.",
        gain=f"Up to {found[1]:.0f} s.",
        evidence=[f"Checkpoints took {found[1]:.1f} s, {percent(found[0])} of the epochs' time."],
        severity=IMPROVEMENT,
        source="checkpoint",
    )
    return Diagnosis(advice, worth=found[0])


def hook_is_dear(case: Case) -> Diagnosis | None:
    """A debugger that costs more than it should."""
    cost = case.run.facts.get("overhead") or {}
    share, seconds = float(cost.get("share") or 0.0), float(cost.get("seconds") or 0.0)
    if share <= 0.1 or seconds <= _WORTH_SECONDS:
        return None
    advice = Advice(
        title="Saving tensors takes much of the time",
        change="Save less often (save_interval), or reductions in place of raw tensors.",
        gain=f"Up to {seconds:.0f} s.",
        evidence=[
            f"{cost.get('saved_steps')} saved steps took {seconds:.1f} s, {percent(share)} of the training "
            f"({float(cost.get('per_saved_step_ms') or 0.0):.0f} ms each)."
        ],
        severity=IMPROVEMENT,
        source="hook",
    )
    return Diagnosis(advice, worth=share)


def epochs_for_nothing(case: Case) -> Diagnosis | None:
    """Many epochs after the last one that made a difference."""
    stop, last = should_stop(case.history), len(case.history)
    seconds = sum(row.get("seconds", 0.0) for row in case.history if stop and row["epoch"] > stop)
    whole = sum(row.get("seconds", 0.0) for row in case.history)
    if not stop or last - stop <= case.number("patience", 5) or not whole:
        return None
    best = case.run.best_epoch
    advice = Advice(
        title="The last epochs changed next to nothing",
        change=f"Stop sooner: {describe_setting({'epochs': stop + 2})}.",
        gain=f"{seconds:.1f} s of {whole:.1f} s of the epochs.",
        evidence=[
            f"After epoch {stop} of {last} the validation loss never fell by another 1 % (epoch {best} was kept).",
        ],
        severity=IMPROVEMENT if seconds > _WORTH_SECONDS else NOTE,
        source="history",
    )
    return Diagnosis(advice, worth=seconds / whole)
