"""Layers from what Docker answers: history and digests side by side, sharing, the size gate."""

import json
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from kennel import cli
from kennel.delivery import layers
from kennel.delivery.layers import ImageLayers, Layer
from kennel.errors import KennelError, UserError


def entry(made_by: str, size: int = 0, comment: str = "") -> dict[str, Any]:
    return {"Id": "<missing>", "CreatedBy": made_by, "Size": size, "Comment": comment}


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


# The newest first, as Docker answers.
HISTORY = [
    entry("LABEL org.opencontainers.image.title=kennel-train"),
    entry(
        "RUN |2 WEIGHTS_URL= WEIGHTS_SHA256= /bin/bash -euo pipefail -c uv pip install   --no-cache # buildkit", 7_000
    ),
    entry("COPY requirements.txt /requirements/ # buildkit", 200),
    entry("WORKDIR /opt/ml"),
    entry("ENV PATH=/opt/kennel/venv/bin"),
    entry('/bin/sh -c #(nop)  CMD ["bash"]'),
    entry("/bin/sh -c apt-get update && rm -rf /var/lib/apt/lists/*", 40),
    entry("", 100_000, comment="Imported from -"),
]


class FakeImage:
    def __init__(self, digests: list[str], history: list[dict[str, Any]]) -> None:
        self.id, self.attrs, self._history = digest("f"), {"RootFS": {"Layers": digests}}, history

    def history(self) -> list[dict[str, Any]]:
        return self._history


class FakeEngine:
    """The little of a DockerClient that is asked; `images` stands for itself and its collection."""

    def __init__(self, images: dict[str, FakeImage]) -> None:
        self.known, self.images = images, self

    def get(self, name: str) -> FakeImage:
        if name not in self.known:
            raise ImageNotFound(name)
        return self.known[name]

    def close(self) -> None: ...


def test_every_layer_gets_its_size_and_what_made_it() -> None:
    found = layers.lay_out([digest(letter) for letter in "abcde"], HISTORY)
    assert [(each.digest[7], each.size_bytes, each.made_by) for each in found] == [
        ("a", 100_000, "Imported from -"),
        ("b", 40, "apt-get update && rm -rf /var/lib/apt/lists/*"),
        ("c", 0, "WORKDIR /opt/ml"),
        ("d", 200, "COPY requirements.txt /requirements/"),
        ("e", 7_000, "uv pip install --no-cache"),
    ]


def test_an_entry_without_bytes_is_no_layer_when_the_digests_are_fewer() -> None:
    found = layers.lay_out([digest(letter) for letter in "abde"], HISTORY)
    assert [each.size_bytes for each in found] == [100_000, 40, 200, 7_000]


def test_of_two_entries_without_bytes_the_folder_is_believed_before_the_command() -> None:
    history = [
        entry("/bin/sh -c #(nop) WORKDIR /opt/ml"),
        entry("RUN /bin/sh -c true # buildkit"),
        entry("ADD file:1 in /", 5),
    ]
    assert [each.made_by for each in layers.lay_out([digest("a"), digest("b")], history)] == [
        "ADD file:1 in /",
        "WORKDIR /opt/ml",
    ]


@pytest.mark.parametrize("count", [3, 6])
def test_a_history_that_cannot_fit_the_digests_is_refused(count: int) -> None:
    with pytest.raises(KennelError, match=f"names {count} layers, and 4 to 5 by its history"):
        layers.lay_out([digest("a")] * count, HISTORY)


def test_a_long_instruction_is_cut() -> None:
    assert len(layers.describe(entry("RUN /bin/sh -c " + "x" * 300, 1))) == 96


def image(name: str, **sizes: int) -> ImageLayers:
    return ImageLayers(name, digest("f"), tuple(Layer(digest(key), size, f"made {key}") for key, size in sizes.items()))


def test_sharing_counts_a_layer_once_and_by_its_digest() -> None:
    shared = layers.sharing([image("train", a=600, b=300, c=100), image("serve", a=600, b=300, d=300)])
    assert (shared.shared_bytes, shared.union_bytes) == (900, 1300)
    assert shared.shares == {"train": 0.9, "serve": 0.75}
    assert "75.0% of serve" in shared.table()


def test_a_layer_that_only_two_of_three_images_have_is_not_in_all_of_them() -> None:
    shared = layers.sharing([image("one", a=10, b=90), image("two", a=10, b=90), image("three", a=10, c=1)])
    assert (shared.shared_bytes, shared.union_bytes) == (10, 101)


def test_the_limit_names_image_size_and_largest_layers() -> None:
    large = image("train", a=10, b=7_000_000_000, c=300_000_000, d=20_000_000)
    layers.check_limit([large], 7.4)
    with pytest.raises(KennelError) as refused:
        layers.check_limit([image("small", a=1), large], 6.5)
    assert str(refused.value).splitlines() == [
        "train has 7.32 GB, more than the limit of 6.5 GB. Most of it:",
        "    7,000.0 MB  made b",
        "      300.0 MB  made c",
        "       20.0 MB  made d",
    ]


def test_an_image_that_is_not_here_is_named() -> None:
    with pytest.raises(UserError, match="no image 'gone:1' on this machine"):
        layers.read_layers(FakeEngine({}), "gone:1")


def test_the_command_prints_writes_and_then_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = [digest(letter) for letter in "abcde"]
    engine = FakeEngine({"train": FakeImage(digests, HISTORY), "serve": FakeImage(digests[:2], HISTORY[-2:])})
    monkeypatch.setattr("docker.from_env", lambda **_: engine)
    report = tmp_path / "layers.json"
    command = ["layers", "train", "serve", "--json", str(report)]
    assert cli.main([*command, "--limit-gb", "1"]) == 0
    assert "in all of them:" in capsys.readouterr().out
    assert cli.main([*command, "--limit-gb", "0.000105"]) == 1
    printed = capsys.readouterr()
    assert "train\n" in printed.out
    assert "kennel: train has 0.00 GB, more than the limit" in printed.err
    content = json.loads(report.read_text())
    assert [each["size_bytes"] for each in content["images"]] == [107_240, 100_040]
    assert content["sharing"]["shared_bytes"] == 100_040
    assert content["sharing"]["shared_of_each"]["serve"] == 1.0
