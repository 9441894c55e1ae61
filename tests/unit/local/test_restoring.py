"""Objects of the local S3, read in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.local.restoring import MotoApp, RestoringS3
from kennel.local.storage import S3Address


@pytest.fixture
def objects() -> Iterator[RestoringS3]:
    """A local S3 with an empty bucket `dogs`."""
    found = RestoringS3(MotoApp("s3"))
    found.announce_bucket("dogs")
    yield found
    found._backend().reset()


def test_an_object_in_memory_is_copied(objects: RestoringS3, tmp_path: Path) -> None:
    assert not objects.copy(S3Address("dogs", "a/1.jpg"), tmp_path / "1.jpg")
    objects._backend().put_object("dogs", "a/1.jpg", b"woof")
    assert objects.copy(S3Address("dogs", "a/1.jpg"), tmp_path / "1.jpg")
    assert (tmp_path / "1.jpg").read_bytes() == b"woof"


def test_an_announced_object_is_copied_and_stays_a_file(objects: RestoringS3, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"a model")
    objects.announce(S3Address("dogs", "model.tar.gz"), tmp_path / "model.tar.gz")
    assert objects.copy(S3Address("dogs", "model.tar.gz"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"a model"
    (tmp_path / "model.tar.gz").unlink()
    assert not objects.copy(S3Address("dogs", "model.tar.gz"), tmp_path / "copy")  # memory never had it


def test_there_is_nothing_in_a_bucket_that_is_not_there(objects: RestoringS3, tmp_path: Path) -> None:
    assert not objects.copy(S3Address("cats", "1.jpg"), tmp_path / "1.jpg")
    assert not (tmp_path / "1.jpg").exists()
