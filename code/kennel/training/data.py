"""The pictures a job trains on: found in its channels, checked, and less what its user chose to leave out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kennel.dataset.check import CheckReport, check_dataset
from kennel.dataset.folders import Dataset, find_dataset, without
from kennel.errors import DataError, HyperparameterError
from kennel.hyperparameters import Hyperparameters

_SHOWN: Final = 3


def read_dataset(channels: Mapping[str, Path], settings: Hyperparameters) -> Dataset:
    """The data set in a job's channels, fit for training.

    bad_data=refuse: files are compared, not decoded, and what would spoil the result is an error; a broken picture is
    one later, when it is read. bad_data=skip: every picture is decoded, and bad ones and leaked copies are left out.
    Raises DataError naming files and remedy, HyperparameterError for a batch larger than the training set.
    """
    dataset = find_dataset(channels, seed=settings.seed)
    report = check_dataset(dataset, decode=settings.bad_data == "skip")
    if settings.bad_data == "skip" and report.skippable:
        dataset = without(dataset, report.skippable)
        print(f"left out {len(set(report.skippable))} pictures (bad-data=skip):", *_messages(report), sep="\n  ")
        report = check_dataset(dataset, decode=False)
    if report.errors:
        raise DataError(_refusal(report))
    _check_batch_size(dataset, settings)
    return dataset


def describe_dataset(dataset: Dataset, digest: str) -> str:
    """`data classes=20 train=800 valid=200 test=200 layout=split split-seed=None digest=5f0c...`."""
    counts = " ".join(f"{split}={len(examples)}" for split, examples in dataset.splits.items())
    return (
        f"data classes={len(dataset.classes)} {counts} layout={dataset.layout} split-seed={dataset.seed} "
        f"digest={digest[:16]}"
    )


def _check_batch_size(dataset: Dataset, settings: Hyperparameters) -> None:
    images = len(dataset.splits["train"])
    if settings.batch_size > images:
        raise HyperparameterError(
            f"batch-size {settings.batch_size} is larger than the {images} training images. "
            f"Set batch-size to {images} or less, or add images."
        )


def _messages(report: CheckReport) -> list[str]:
    messages = [finding.message for finding in report.errors]
    more = [f"... and {len(messages) - _SHOWN} more"] if len(messages) > _SHOWN else []
    return messages[:_SHOWN] + more


def _refusal(report: CheckReport) -> str:
    """The first findings, and how to go on without the pictures at fault where that is enough."""
    at_fault = set(report.skippable)
    is_enough = at_fault.issuperset(path for finding in report.errors for path in finding.paths or [None])
    remedy = f" To train without these {len(at_fault)} pictures: -p bad-data=skip." if is_enough else ""
    return " ".join(_messages(report)) + remedy
