"""A labelled data set made by drawing: dogs in eight coat patterns, one class a pattern.

The quickstart trains on it, so it has to need nothing from the network and to be learnable from random weights.
The class is in the pattern alone: colours, pose, background and light come from the same distribution for every class.
`kennel data sample` makes one.
"""

import concurrent.futures
import dataclasses
import functools
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kennel.errors import DataError, UserError

COATS: Final = ("Solid", "Spotted", "Brindle", "Merle", "Saddle", "Piebald", "Ticked", "Harlequin")
RECORD: Final = "sample.json"
_VERSION: Final = 1  # of the drawing; a change of a pixel is a new version
_EYE: Final = 0.06  # brightness of eyes and nose
_OVERSAMPLING: Final = 2  # drawn larger and reduced: smooth edges
# Fur from black to cream; each picture takes two that differ in lightness, in either order.
_FUR: Final = (
    (28, 26, 26),
    (62, 40, 28),
    (104, 62, 34),
    (150, 88, 44),
    (190, 138, 80),
    (222, 190, 140),
    (238, 230, 216),
    (196, 194, 196),
    (128, 132, 140),
    (78, 84, 96),
)

Progress = Callable[[int, int], None]  # pictures done, pictures in all
Field = NDArray[np.floating]  # (H, W), or (H, W, 3) for a picture
Points = NDArray[np.float64]  # (..., 2): x, y


def _circle(corners: int) -> Points:
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], -1)


_CIRCLE: Final = _circle(28)
_SMALL_CIRCLE: Final = _circle(8)


def make_sample(
    folder: Path, *, images_per_class: int = 300, size_px: int = 96, seed: int = 0, progress: Progress | None = None
) -> Path:
    """`folder` with train/, valid/ and test/ (80:10:10) of eight class folders of JPEGs; the same seed, the same bytes.

    A folder that already holds this very sample is left as it is.
    Raises UserError for fewer than 3 images a class or a side outside 32 to 1024 px,
    DataError if `folder` holds anything else.
    """
    record = {"version": _VERSION, "images_per_class": images_per_class, "size_px": size_px, "seed": seed}
    _check_request(images_per_class, size_px, seed)
    if _is_made(folder, record):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _draw_all(unfinished, record, progress)
        (unfinished / RECORD).write_text(json.dumps(record) + "\n")
        unfinished.chmod(0o755)  # mkdtemp's 0700 would lock out a container's user
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _check_request(images_per_class: int, size_px: int, seed: int) -> None:
    if not 3 <= images_per_class <= 100_000:
        raise UserError(f"{images_per_class} images per class: expected 3 (one for each split) to 100000.")
    if not 32 <= size_px <= 1024:
        raise UserError(f"Pictures of {size_px} px: expected 32 to 1024.")
    if seed < 0:
        raise UserError(f"Seed {seed} is negative: expected 0 or more.")


def _is_made(folder: Path, record: Mapping[str, int]) -> bool:
    """Whether `folder` holds this sample already; DataError if it holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = folder / RECORD
    if found.is_file() and found.read_text() == json.dumps(record) + "\n":
        return True
    raise DataError(f"{folder} is there and is not this sample. Name another folder, or remove it first.")


def _draw_all(folder: Path, record: Mapping[str, int], progress: Progress | None) -> None:
    count, size_px = record["images_per_class"], record["size_px"]
    held_out = max(1, round(count / 10))

    def draw(index: int, number: int) -> None:
        coat = COATS[index]
        split = "valid" if number < held_out else "test" if number < 2 * held_out else "train"
        target = folder / split / f"{index + 1:03}.{coat}"
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{coat.lower()}_{number:05}.jpg").write_bytes(
            draw_dog(coat, size_px, (record["seed"], index, number))
        )

    indices, numbers = zip(*((index, number) for index in range(len(COATS)) for number in range(count)), strict=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(draw, indices, numbers), 1):
            if progress:
                progress(done, len(indices))


def draw_dog(coat: str, size_px: int, seed: tuple[int, ...]) -> bytes:
    """One JPEG, `size_px` square, of a dog in `coat` (one of COATS); the same seed, the same bytes."""
    rng = np.random.default_rng(seed)
    scene = _Scene.random(size_px, rng)
    fur, mark, wall, ground = _colours(rng)
    furred, marked, covered = _draw_coat(scene.enlarged(_OVERSAMPLING), _PATTERNS[coat])
    dog = (fur * furred + (mark - fur) * marked) * _relief(scene)
    picture = _light(scene, dog + (1 - covered) * _background(scene, wall, ground))
    encoded = io.BytesIO()
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    image.save(encoded, format="JPEG", quality=int(rng.integers(80, 96)))
    return encoded.getvalue()


def _draw_coat(scene: "_Scene", pattern: Callable[["_Scene"], Field]) -> tuple[Field, Field, Field]:
    """Three (H, W, 1) of the picture's size: the dog's brightness, that of its marked parts, and its cover."""
    shades = _silhouette(scene)
    return _reduce(shades), _reduce(shades * pattern(scene)), _reduce((shades > 0).astype(np.float32))


def _reduce(field: Field) -> Field:
    """Means of squares of _OVERSAMPLING pixels, (H, W, 1)."""
    steps = [(row, column) for row in range(_OVERSAMPLING) for column in range(_OVERSAMPLING)]
    total = sum(field[row::_OVERSAMPLING, column::_OVERSAMPLING] for row, column in steps)
    return np.asarray(total / len(steps), dtype=np.float32)[..., None]


@dataclass(frozen=True)
class _Scene:
    """The canvas, and where the dog stands on it.

    Dog coordinates: x to the head, y down, the trunk about 0.6 long and centred on 0; patterns are drawn in them.
    """

    side_px: int
    rng: np.random.Generator
    scale_px: float
    centre_px: tuple[float, float]
    turn: float  # radians
    mirror: int  # -1 looks left

    @classmethod
    def random(cls, side_px: int, rng: np.random.Generator) -> "_Scene":
        across, down = (float(rng.uniform(0.44, 0.54)) * side_px for _ in range(2))  # float: float32 fields stay so
        mirror = int(rng.choice((-1, 1)))
        scale_px = float(rng.uniform(0.78, 0.95)) * side_px
        return cls(side_px, rng, scale_px, (across, down), float(rng.uniform(-0.25, 0.25)), mirror)

    def enlarged(self, factor: int) -> "_Scene":
        """The same scene with more pixels."""
        centre = (self.centre_px[0] * factor, self.centre_px[1] * factor)
        return dataclasses.replace(
            self, side_px=self.side_px * factor, scale_px=self.scale_px * factor, centre_px=centre
        )

    def to_pixels(self, points: Points) -> Points:
        """Dog coordinates to pixels."""
        return points @ self._turned + self.centre_px

    @functools.cached_property
    def _turned(self) -> Points:
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        mirrored = np.array([(cosine * self.mirror, sine * self.mirror), (-sine, cosine)])
        return mirrored * self.scale_px

    @functools.cached_property
    def grid(self) -> tuple[Field, Field]:
        """Dog coordinates x and y of every pixel."""
        rows, columns = np.mgrid[: self.side_px, : self.side_px].astype(np.float32)
        across = (columns - self.centre_px[0]) / self.scale_px
        down = (rows - self.centre_px[1]) / self.scale_px
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        return (across * cosine + down * sine) * self.mirror, down * cosine - across * sine

    def noise(self, cell: float) -> Field:
        """Smooth noise of mean 0 and deviation 1; `cell` is the size of its blobs in dog coordinates."""
        cells = self.side_px / (cell * self.scale_px)
        values = self.rng.standard_normal((int(cells) + 4, int(cells) + 4)).astype(np.float32)
        left, top = self.rng.uniform(1, 2, 2)
        field: Field = np.asarray(
            Image.fromarray(values).resize(
                (self.side_px, self.side_px), Image.Resampling.BICUBIC, box=(left, top, left + cells, top + cells)
            )
        )
        field = (field - field.mean()) / (field.std() + 1e-6)
        return field

    def stamp(self, shapes: Points) -> Field:
        """1 where one of the shapes, (N, corners, 2), is, 0 elsewhere."""
        canvas = Image.new("L", (self.side_px, self.side_px))
        draw = ImageDraw.Draw(canvas)
        for corners in self.to_pixels(shapes).reshape(len(shapes), -1).tolist():
            draw.polygon(corners, fill=1)
        return np.asarray(canvas).astype(np.float32)


# --- Coats: where the second colour goes, 0 to 1 ------------------------------------------------------------------


def _solid(scene: _Scene) -> Field:
    return np.zeros((scene.side_px, scene.side_px), dtype=np.float32)


def _spotted(scene: _Scene) -> Field:
    """Round spots of a coin's size, apart from each other."""
    pitch = scene.rng.uniform(0.1, 0.13)
    return scene.stamp(_scattered(scene.rng, pitch, (0.26 * pitch, 0.38 * pitch), spread=0.22))


def _ticked(scene: _Scene) -> Field:
    """Flecks all over, far smaller than spots."""
    return scene.stamp(_scattered(scene.rng, scene.rng.uniform(0.038, 0.048), (0.008, 0.013), spread=0.4))


def _brindle(scene: _Scene) -> Field:
    """Stripes down the flanks, wavering and broken."""
    x, y = scene.grid
    lean = scene.rng.uniform(-0.35, 0.35)
    phase = (x + lean * y) * scene.rng.uniform(10, 14) + 0.22 * scene.noise(0.16)
    return _step(np.sin(2 * np.pi * phase) + 0.35 * scene.noise(0.07), 0.2, 0.5)


def _merle(scene: _Scene) -> Field:
    """The colour thinned in soft clouds, with a few full blotches."""
    clouds = _step(scene.noise(0.055) + 0.5 * scene.noise(0.025), 0.0, 1.8)
    blotches = _step(scene.noise(0.1), 1.7, 0.8)
    thinned: Field = np.maximum(0.5 * clouds, blotches)
    return thinned


def _saddle(scene: _Scene) -> Field:
    """One blanket over the back; head, chest, belly and legs stay free."""
    x, y = scene.grid
    hem = scene.rng.uniform(0.0, 0.05) + 0.012 * scene.noise(0.08)
    front = scene.rng.uniform(0.16, 0.24) + 0.012 * scene.noise(0.08)
    return _step(hem - y, 0, 0.03) * _step(front - x, 0, 0.03) * _step(x + 0.36, 0, 0.03)


def _piebald(scene: _Scene) -> Field:
    """A few large patches with clean edges, above and below alike: one on the back alone would be a saddle."""
    x, y = scene.grid
    back, belly = ((np.abs(x) < 0.28) & (np.abs(y - middle) < 0.07) for middle in (-0.07, 0.07))
    while True:
        field = scene.noise(0.21)
        patches = _step(field, _level(scene, field, scene.rng.uniform(0.4, 0.6)), 0.08)
        if abs(patches[back].mean() - patches[belly].mean()) < 0.3:
            return patches


def _harlequin(scene: _Scene) -> Field:
    """Torn patches, smaller than piebald's and with ragged edges."""
    field = scene.noise(0.15) + 0.4 * scene.noise(0.045) + 0.25 * scene.noise(0.02)
    return _step(field, _level(scene, field, scene.rng.uniform(0.55, 0.7)), 0.1)


_PATTERNS: Final[dict[str, Callable[[_Scene], Field]]] = {
    "Solid": _solid,
    "Spotted": _spotted,
    "Brindle": _brindle,
    "Merle": _merle,
    "Saddle": _saddle,
    "Piebald": _piebald,
    "Ticked": _ticked,
    "Harlequin": _harlequin,
}


def _step(field: Field, edge: float | Field, width: float) -> Field:
    """0 below `edge`, 1 above it, a ramp of `width` between."""
    ramp: Field = np.clip((field - edge) / width + 0.5, 0, 1)
    return ramp


def _level(scene: _Scene, field: Field, share: float) -> float:
    """The value that `share` of the trunk lies under, so that every dog shows both colours."""
    x, y = scene.grid
    return float(np.quantile(field[(np.abs(x) < 0.28) & (np.abs(y) < 0.14)], share))


def _scattered(rng: np.random.Generator, pitch: float, radius: tuple[float, float], *, spread: float) -> Points:
    """Ellipses, (N, corners, 2), on a grid over the dog, each moved by up to `spread` of the pitch, some left out."""
    places = np.stack(np.meshgrid(np.arange(-0.66, 0.78, pitch), np.arange(-0.5, 0.62, pitch)), -1).reshape(-1, 2)
    places = places[rng.random(len(places)) < 0.9]
    places = places + rng.uniform(-spread, spread, places.shape) * pitch
    radii = rng.uniform(*radius, places.shape)
    shapes: Points = (_SMALL_CIRCLE if radius[1] < 0.03 else _CIRCLE) * radii[:, None] + places[:, None]
    return shapes


# --- The dog ------------------------------------------------------------------------------------------------------


def _silhouette(scene: _Scene) -> Field:
    """How bright each pixel of the dog is, 0 to 1; 0 is where the dog is not."""
    canvas = Image.new("L", (scene.side_px, scene.side_px))
    draw = ImageDraw.Draw(canvas)
    for shape, shade in _parts(scene.rng):
        draw.polygon(scene.to_pixels(shape).ravel().tolist(), fill=round(255 * shade))
    return (np.asarray(canvas) / np.float32(255)).astype(np.float32)


def _parts(rng: np.random.Generator) -> list[tuple[Points, float]]:
    """Polygons from far to near with their brightness."""
    depth = rng.uniform(0.15, 0.19)  # half the trunk's height
    return [
        *((leg, 0.72) for leg in _legs(rng, depth, 0.03)),
        *((leg, 0.95) for leg in _legs(rng, depth, -0.03)),
        (_tail(rng, depth), 0.95),
        (_ellipse(0.17, 0.0, 0.2, depth), 1.0),
        (_ellipse(-0.17, -0.01, 0.18, depth * 0.92), 1.0),
        (_ellipse(0.0, -0.01, 0.26, depth * 0.85), 1.0),
        *_head(rng),
    ]


def _legs(rng: np.random.Generator, depth: float, offset: float) -> list[Points]:
    length = rng.uniform(0.24, 0.32)
    shapes = []
    for hip in (-0.25, 0.24):
        foot = hip + offset + rng.uniform(-0.12, 0.12)
        ground = depth + length
        shapes.append(_limb((hip + offset, depth * 0.3), (foot, ground), 0.07, 0.035))
        shapes.append(_ellipse(foot + 0.02, ground, 0.05, 0.028))
    return shapes


def _tail(rng: np.random.Generator, depth: float) -> Points:
    angle = rng.uniform(-0.4, 1.1)
    length = rng.uniform(0.16, 0.26)
    tip = (-0.3 - length * math.cos(angle), -0.6 * depth - length * math.sin(angle))
    return _limb((-0.28, -0.5 * depth), tip, 0.035, 0.018)


def _head(rng: np.random.Generator) -> list[tuple[Points, float]]:
    x, y = rng.uniform(0.38, 0.46), rng.uniform(-0.3, -0.16)
    size = rng.uniform(0.1, 0.125)
    if rng.random() < 0.5:  # ears hang or stand
        ear = _ellipse(x - 0.3 * size, y + 0.25 * size, 0.38 * size, 0.85 * size)
    else:
        ear = np.array(
            [(x - 0.75 * size, y - 0.4 * size), (x - 0.35 * size, y - 1.7 * size), (x + 0.25 * size, y - 0.7 * size)]
        )
    return [
        (_limb((0.24, -0.03), (x - 0.03, y), 0.13, 0.085), 1.0),
        (_ellipse(x, y, size, size * 0.88), 1.0),
        (_ellipse(x + size * 1.05, y + size * 0.3, size * 0.62, size * 0.42), 1.0),
        (ear, 0.85),
        (_ellipse(x + size * 0.35, y - size * 0.2, 0.016, 0.018), _EYE),
        (_ellipse(x + size * 1.6, y + size * 0.15, 0.028, 0.022), _EYE),
    ]


def _ellipse(x: float, y: float, width: float, height: float) -> Points:
    """`width` and `height` are half axes. Small ones need few corners."""
    circle = _SMALL_CIRCLE if max(width, height) < 0.03 else _CIRCLE
    return circle * (width, height) + (x, y)


def _limb(start: tuple[float, float], end: tuple[float, float], start_width: float, end_width: float) -> Points:
    """A tapering bar; widths are half ones."""
    along = np.subtract(end, start) / math.dist(start, end)
    across = np.array([-along[1], along[0]])
    corners = (
        start + across * start_width,
        end + across * end_width,
        end - across * end_width,
        start - across * start_width,
    )
    return np.array(corners)


def _relief(scene: _Scene) -> Field:
    """A belly in the shade, and the fur's own unevenness; (H, W, 1)."""
    _, y = scene.grid
    belly: Field = 1.06 - 0.55 * np.clip(y + 0.1, 0, 0.5)
    return (belly * (1 + 0.035 * scene.noise(0.012)))[..., None]


# --- Colour, surroundings, light ----------------------------------------------------------------------------------


def _colours(rng: np.random.Generator) -> tuple[Field, Field, Field, Field]:
    """Fur, markings, wall and ground, RGB 0 to 255: the same distribution for every coat."""
    fur = np.array(_FUR, dtype=np.float32)
    while True:
        base, mark = fur[rng.choice(len(fur), 2, replace=False)] + rng.uniform(-12, 12, (2, 3)).astype(np.float32)
        if abs(base.mean() - mark.mean()) > 90:
            break
    while True:
        wall, ground = rng.uniform(20, 235, (2, 3)).astype(np.float32)
        apart = [np.abs(place - colour).mean() for place in (wall, ground) for colour in (base, mark)]
        if min(apart) > 50:
            return base, mark, wall, ground


def _background(scene: _Scene, wall: Field, ground: Field) -> Field:
    """Wall and ground with textures of their own, which say nothing about the coat."""
    rows = np.arange(scene.side_px, dtype=np.float32)[:, None] / scene.side_px
    horizon = scene.rng.uniform(0.35, 0.8) + 0.01 * scene.noise(0.3)
    below = _step(rows, horizon, scene.rng.uniform(0.01, 0.15))[..., None]
    texture = scene.noise(scene.rng.uniform(0.02, 0.3)) * scene.rng.uniform(0, 10)
    return wall + (ground - wall) * below + texture[..., None]


def _light(scene: _Scene, picture: Field) -> Field:
    """Brightness, tint, a side lit more than the other, and the camera's noise."""
    rng = scene.rng
    x, y = scene.grid
    angle = rng.uniform(0, 2 * np.pi)
    slope = 1 + rng.uniform(0, 0.25) * (math.cos(angle) * x + math.sin(angle) * y)
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(2, 8)
    lit: Field = picture * slope[..., None] * gain + noise
    return lit
