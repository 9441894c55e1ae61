"""What the Dockerfiles promise and no linter sees."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILES = {name: (REPOSITORY / f"Dockerfile.{name}").read_text() for name in ("train", "serve")}


def instructions(dockerfile: str) -> list[str]:
    """The instructions, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def test_both_images_begin_with_the_same_layers() -> None:
    shared = {name: text[: text.index("# == shared")] for name, text in DOCKERFILES.items()}
    assert instructions(shared["train"]) == instructions(shared["serve"])
    comments = [[line for line in text.splitlines()[14:] if line.startswith("#")] for text in shared.values()]
    assert comments[0] == comments[1]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_base_is_a_tag_and_a_digest_and_can_be_replaced(name: str) -> None:
    first = instructions(DOCKERFILES[name])[0]
    assert re.fullmatch(r"ARG BASE_IMAGE=\S+/cuda:13\.\d+\.\d+-base-ubuntu24\.04@sha256:[0-9a-f]{64}", first)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_changes_at_every_commit_comes_last(name: str) -> None:
    order = instructions(DOCKERFILES[name])
    commit = next(i for i, line in enumerate(order) if line.startswith("ARG COMMIT"))
    assert not [line for line in order[commit:] if line.startswith(("RUN", "COPY", "ADD"))]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_starts_its_word_in_exec_form_with_nothing_in_front(name: str) -> None:
    order = instructions(DOCKERFILES[name])
    assert "ENTRYPOINT []" in order
    assert f'CMD ["{name}"]' in order


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_lock_that_is_named_exists(name: str) -> None:
    for lock in re.findall(r"docker/requirements/([\w-]+\.txt)", DOCKERFILES[name]):
        assert (REPOSITORY / "docker" / "requirements" / lock).exists()
