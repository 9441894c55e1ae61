"""What every test may ask for: generated pictures, and the real photos where they are there."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from needs import absent

# Before torch is imported anywhere: with one thread a process, tests that run side by side with a service do not fight
# for the cores (a whole-network test took 50 s with two threads on a busy machine, and 4 s with one).
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def environment_is_put_back() -> Iterator[None]:
    """What a test's program sets, as an opened place does, is not there for the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `data/` and `weights/`: KENNEL_SHARED, or `shared` beside the project.

    Without it the test is skipped, or fails where KENNEL_REQUIRE names `photos` (.ci/run).
    """
    folder = Path(os.environ.get("KENNEL_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "data" / "dogs20").is_dir() or not (folder / "weights").is_dir():
        absent("photos", f"real photos and weights are not at {folder} (set KENNEL_SHARED to the folder that has them)")
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a split folder of noisy JPEGs in which a class is a colour, so that a network learns it in seconds."""

    def make(
        name: str = "pictures",
        *,
        classes: tuple[str, ...] = ("001.Red", "002.Green", "003.Blue"),
        images: dict[str, int] | None = None,
        size_px: int = 48,
    ) -> Path:
        folder = tmp_path / name
        noise = random.Random(0)
        for split, count in (images or {"train": 12, "valid": 4, "test": 4}).items():
            for index, class_name in enumerate(classes):
                target = folder / split / class_name
                target.mkdir(parents=True)
                for number in range(count):
                    picture = Image.effect_noise((size_px, size_px), 40 + noise.random() * 40).convert("RGB")
                    tint = [noise.randrange(60) for _ in range(3)]
                    tint[index % 3] += 150
                    Image.blend(picture, Image.new("RGB", picture.size, tuple(tint)), 0.7).save(
                        target / f"{class_name[4:].lower()}_{number:03}.jpg"
                    )
        return folder

    return make
