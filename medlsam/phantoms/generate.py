"""The phantom itself: a grid, the anatomy painted on it, then what the scanner adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.phantoms import (
    abdomen,
    chest,
    head,
    skeleton,
    trunk_layers,
)
from medlsam.phantoms.canvas import Block, Canvas
from medlsam.phantoms.layout import NAMES, REGIONS, VALUES
from medlsam.phantoms.person import Enhancement, Person
from medlsam.phantoms.scanner import metal_artefact, outside_circle, scanner_noise, table_hu
from medlsam.volume import Image, LabelMap
from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

_SLAB_VOXELS = 900_000
_AXES = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
_Box = tuple[float, float, float, float, float, float]
_EVERYWHERE = (-260.0, 260.0, -170.0, 170.0, -400.0, 960.0)

# Later steps paint over earlier ones. Each touches only its box (x0, x1, y0, y1, z0, z1).
_STEPS: tuple[tuple[Callable[[Block], None], _Box], ...] = (
    (trunk_layers.face_fat, (-75, 75, -110, 55, 625, 815)),
    (trunk_layers.cavities, (-140, 140, -105, 115, 12, 455)),
    (trunk_layers.mediastinum, (-70, 70, -90, 100, 400, 650)),
    (abdomen.psoas, (-125, 125, -60, 60, 10, 405)),
    (chest.lungs, (-140, 140, -105, 115, 320, 652)),
    (chest.heart, (-60, 85, -90, 35, 415, 540)),
    (chest.hila, (-95, 100, -60, 55, 440, 600)),
    (chest.iliacs, (-95, 95, -80, 20, -130, 235)),
    (chest.vessels, (-110, 110, -55, 65, 205, 660)),
    (abdomen.bowel, (-95, 95, -100, 20, 100, 310)),
    (abdomen.stomach, (-40, 105, -100, 65, 285, 455)),
    (abdomen.liver, (-145, 85, -105, 105, 270, 465)),
    (abdomen.upper, (-105, 130, -50, 100, 270, 465)),
    (abdomen.kidneys, (-115, 115, -5, 90, 270, 415)),
    (abdomen.colon, (-125, 125, -105, 60, 100, 385)),
    (abdomen.pelvic, (-60, 60, -80, 80, 5, 160)),
    (skeleton.ribs, (-142, 142, -105, 115, 305, 650)),
    (skeleton.spine, (-50, 50, -20, 140, 165, 775)),
    (skeleton.pelvis, (-150, 150, -75, 110, -170, 225)),
    (head.skull, (-82, 82, -115, 95, 745, 925)),
    (head.brain, (-75, 75, -105, 90, 755, 920)),
    (head.eyes, (-50, 50, -100, -30, 780, 815)),
    (head.mandible, (-62, 62, -105, 5, 692, 785)),
    (head.glands, (-80, 80, -80, 35, 610, 840)),
    (head.airway, (-40, 40, -100, -5, 660, 785)),
    (chest.tubes, (-75, 75, -45, 60, 400, 690)),
    (head.cord, (-20, 20, -5, 100, 150, 772)),
)


@dataclass(frozen=True)
class Phantom:
    """A made-up patient: HU image, label map on the same grid, and the name of each label value."""

    image: Image
    labels: LabelMap
    names: dict[int, str]


def phantom(
    seed: int | np.random.Generator,
    spacing_xyz: Sequence[float] = (3.0, 3.0, 3.0),
    region: str | tuple[float, float] = "body",
    fov_mm: float | None = None,
    orientation: str | ArrayLike = "LPS",
    absent: Collection[str] = (),
    metal: bool = False,
    noise_hu: float = 15.0,
    table: bool = True,
    arms: bool = False,
    padding_hu: float = -1024,
    enhancement: Enhancement = "one",
) -> Phantom:
    """Make a labelled CT-like volume of one body.

    One seed is one person: spacing, region, field of view and orientation only choose how it is scanned.

    Args:
        seed: the person (a generator gives one integer).
        spacing_xyz: voxel size along the array's own axes, x (fastest) first, mm.
        region: "body", "head-neck", "thorax", "abdomen", "pelvis", or heights (z0, z1) in mm above the
            sitting plane of a body of average size (the vertex is at about 920).
        fov_mm: in-plane field of view; None holds the whole body and the table.
        orientation: three letters, the patient direction to which each array axis (x first) grows, such
            as "LPS" or "RAI"; or a 3x3 direction matrix (columns are the axes in LPS), oblique ones too.
        absent: names to leave out; what surrounds them takes their place.
        metal: dental fillings and a right hip implant, with their streaks.
        noise_hu: standard deviation of the noise in soft tissue, HU.
        table: whether the couch is in the picture.
        arms: whether the arms lie beside the body (else raised out of the picture).
        padding_hu: value outside the circle that the scanner reconstructs.
        enhancement: "one": all structures take up the same share of the contrast agent, in people who got any;
            "each": every structure takes up a share of its own or none, so that any may be brighter than any other.

    Returns:
        int16 image (HU), uint8 labels, and the names of the label values.

    Raises:
        UsageError: unknown region, name or enhancement.
        GeometryError: a spacing or orientation that makes no grid.
    """
    check_choices(absent, enhancement)
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed)
    body = anatomy(Person(number, enhancement), spacing_xyz, region, fov_mm, orientation, absent, arms)
    return scanned(body, fov_mm, metal, noise_hu, table, padding_hu)


def check_choices(absent: Collection[str], enhancement: str) -> None:
    """Refuse names and a kind of enhancement that there are not.

    Raises:
        UsageError: unknown name or enhancement.
    """
    unknown = sorted(set(absent) - set(NAMES))
    if unknown:
        raise UsageError(
            f"the phantom has no structure called {', '.join(unknown)}; it has {', '.join(NAMES)}"
        )
    if enhancement not in get_args(Enhancement):
        raise UsageError(f"enhancement is one of {', '.join(get_args(Enhancement))}, got {enhancement!r}")


@dataclass(frozen=True)
class Anatomy:
    """A body on a grid, before a scanner saw it: sharp and without noise.

    Attributes:
        person: whose.
        grid: of the arrays.
        center: (3,) LPS mm, the middle of the circle that the scanner reconstructs.
        hu: float32 (Z, Y, X). What is painted into it later is scanned with the rest.
        labels: uint8 (Z, Y, X).
    """

    person: Person
    grid: Grid
    center: NDArray[np.float64]
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]


def anatomy(
    person: Person,
    spacing_xyz: Sequence[float],
    region: str | tuple[float, float],
    fov_mm: float | None = None,
    orientation: str | ArrayLike = "LPS",
    absent: Collection[str] = (),
    arms: bool = False,
) -> Anatomy:
    """Paint a person's body on a grid; see ``phantom`` for the arguments."""
    grid, center = _scan_grid(person, spacing_xyz, region, fov_mm, _direction(orientation), arms)
    hu = np.empty(grid.shape_zyx, np.float32)
    labels = np.empty(grid.shape_zyx, np.uint8)
    slab = max(4, math.ceil(_SLAB_VOXELS / (grid.shape_zyx[1] * grid.shape_zyx[2])))
    for start in range(0, grid.shape_zyx[0], slab):
        stop = min(start + slab, grid.shape_zyx[0])
        hu[start:stop], labels[start:stop] = _slab(person, grid, start, stop, absent, arms)
    return Anatomy(person, grid, center, hu, labels)


def scanned(
    body: Anatomy,
    fov_mm: float | None = None,
    metal: bool = False,
    noise_hu: float = 15.0,
    table: bool = True,
    padding_hu: float = -1024,
) -> Phantom:
    """What a scanner makes of a body, whose arrays are used up; see ``phantom`` for the arguments."""
    person, grid, hu, labels = body.person, body.grid, body.hu, body.labels
    if metal:
        metal_artefact(hu, person, grid)
    if table:
        table_hu(hu, person, grid)
    scanner_noise(hu, person, grid, noise_hu)
    width = fov_mm or max(grid.box.size[:2])
    # An oblique grid of a limited field is cut by its own borders.
    radius = math.inf if fov_mm is not None and not grid.is_axis_aligned else 0.53 * width
    outside = outside_circle(grid, body.center, radius)
    hu[outside], labels[outside] = padding_hu, 0
    image = np.clip(np.rint(hu), min(LOWEST_HU, padding_hu), HIGHEST_HU).astype(np.int16)
    return Phantom(Image(image, grid), LabelMap(labels, grid), {v: n for n, v in VALUES.items()})


def _slab(
    person: Person, grid: Grid, start: int, stop: int, absent: Collection[str], arms: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    canvas = Canvas(person, grid, start, stop, VALUES, absent)
    whole = canvas.block(_EVERYWHERE)
    if whole is not None:
        trunk_layers.body(whole, arms)
    for paint, box in _STEPS:
        block = canvas.block(box)
        if block is not None:
            paint(block)
    for box in ((0, 235, -80, 110, 0 if arms else 480, 635), (-235, 0, -80, 110, 0 if arms else 480, 635)):
        block = canvas.block(box)
        if block is not None:
            skeleton.shoulders(block, arms, "left" if box[1] > 0 else "right")
    return canvas.whole.hu, canvas.whole.labels


def _direction(orientation: str | ArrayLike) -> NDArray[np.float64]:
    """(3, 3): columns are the LPS directions of the array axes, x first."""
    if not isinstance(orientation, str):
        matrix = np.asarray(orientation, dtype=float)
        if matrix.size != 9:
            raise GeometryError(f"an orientation is three letters or a 3x3 matrix, got {orientation!r}")
        return matrix.reshape(3, 3)
    letters = orientation.upper()
    if len(letters) != 3 or any(c not in _AXES for c in letters) or len({_AXES[c][0] for c in letters}) != 3:
        raise GeometryError(f"an orientation names L or R, A or P, and S or I once each, got {orientation!r}")
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(letters):
        axis, sign = _AXES[letter]
        matrix[axis, column] = sign
    return matrix


def _scan_grid(
    person: Person,
    spacing: Sequence[float],
    region: str | tuple[float, float],
    fov_mm: float | None,
    direction: NDArray[np.float64],
    arms: bool,
) -> tuple[Grid, NDArray[np.float64]]:
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise GeometryError(f"a phantom needs three positive spacings in mm, got {tuple(spacing)}")
    if isinstance(region, str):
        if region not in REGIONS:
            raise UsageError(
                f"unknown region {region!r}: choose {', '.join(REGIONS)} or heights (z0, z1) in mm"
            )
        low, high = REGIONS[region]
    else:
        low, high = float(region[0]), float(region[1])
        if not low < high:
            raise UsageError(f"a region needs z0 < z1 in mm, got {region}")
    middle = np.array([[0.0, 4.0, (low + high) / 2]])
    middle[:, :2] -= person.neck_shear(middle[:, 2:]) * 0.5
    center = person.to_physical(middle)[0]
    half_x = 270.0 if arms else 245.0
    half = np.array([half_x * person.scale[0], 175.0 * person.scale[1], (high - low) / 2 * person.scale[2]])
    half[0] += 8 * person.fat
    if fov_mm is not None:
        half[:2] = float(fov_mm) / 2
    size = np.abs(direction.T) @ (2 * half)
    shape = np.maximum(np.rint(size / np.asarray(spacing, dtype=float)), 1).astype(int)
    extent = (shape - 1) * np.asarray(spacing, dtype=float)
    origin = center - direction @ (extent / 2)
    # Positions within a voxel differ from person to person.
    origin = origin + person.generator("grid").uniform(-0.5, 0.5, 3)
    x, y, z = (int(n) for n in shape)
    grid = Grid(
        (z, y, x),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(v) for v in direction.ravel()),
    )
    return grid, center
