"""Patches of templates for the U-Net: drawn around structures, turned, scaled, bent, in other grey levels and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.peers.unet_network import IGNORED
from medlsam.localize.build_templates import Template
from medlsam.volume import Image, LabelMap, lps_grid, resample

#: Spacing that scans are looked at with, mm (x, y, z): near that of the templates.
SPACING_XYZ = (4.0, 4.0, 3.0)
#: HU that are mapped piecewise linearly to grey levels; air is the first.
HU_KNOTS, GREY_KNOTS = (-1000.0, -200.0, 200.0, 1500.0), (-1.0, -0.6, 0.6, 1.0)
AIR = GREY_KNOTS[0]
#: Largest turn about each axis (degrees), scale (natural logarithm), bend (mm), gain and shift of grey levels, noise.
TURN, SCALE_LOG, BEND_MM, GAIN, SHIFT, NOISE = 15.0, 0.2, 6.0, 0.15, 0.1, 0.05
#: Share of the patches that are drawn around a structure, each structure equally often.
AROUND = 0.7


@dataclass(frozen=True, eq=False)
class Scan:
    """A template as patches are cut from it.

    Attributes:
        grey: (Z, Y, X) float32.
        labels: (Z, Y, X) uint8 classes.
        labelled: (C,) boolean: the classes that it labels, background among them.
        voxels: class to (N, 3) its voxels (z, y, x).
    """

    grey: Tensor
    labels: Tensor
    labelled: Tensor
    voxels: dict[int, NDArray[np.intp]]


def grey_levels(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Grey levels of HU, any shape."""
    return np.asarray(np.interp(hu, HU_KNOTS, GREY_KNOTS), np.float32)


def on_working_grid(image: Image) -> Image:
    """A scan's grey levels as the network sees them."""
    working = resample(image, lps_grid(image.grid, SPACING_XYZ))
    return working.derived(grey_levels(working.array), working.grid)


def read_scan(template: Template, classes: int) -> Scan:
    """Prepare a template.

    Args:
        template: with a label map whose values are classes.
        classes: with background.
    """
    assert template.labels is not None, "a template of a U-Net has labels"
    image = on_working_grid(template.image)
    labels: LabelMap = resample(template.labels, image.grid)
    array = labels.array.astype(np.uint8)
    voxels = {c: np.argwhere(array == c) for c in range(1, classes)}
    voxels = {c: places for c, places in voxels.items() if len(places)}
    labelled = torch.tensor([c == 0 or c in voxels for c in range(classes)])
    return Scan(torch.from_numpy(image.array), torch.from_numpy(array), labelled, voxels)


def draw_middle(scan: Scan, rng: np.random.Generator) -> NDArray[np.float64]:
    """The middle of a patch, (z, y, x) voxels: a voxel of a structure mostly, else any place of the scan."""
    if scan.voxels and rng.random() < AROUND:
        places = scan.voxels[int(rng.choice(list(scan.voxels)))]
        return np.asarray(places[rng.integers(len(places))], float)
    return np.asarray(rng.uniform(0, np.subtract(scan.grey.shape, 1)))


def draw_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) from a step in the patch to one in the scan, mm (z, y, x): a turn about each axis and one scale."""
    matrix: NDArray[np.float64] = np.eye(3) * np.exp(rng.uniform(-SCALE_LOG, SCALE_LOG))
    for axis, angle in enumerate(np.radians(rng.uniform(-TURN, TURN, 3))):
        first, second = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def draw_bend(shape: tuple[int, int, int], rng: np.random.Generator) -> Tensor:
    """(Z, Y, X, 3) smooth displacements (z, y, x) in mm, from 4 x 4 x 4 random ones."""
    knots = torch.from_numpy(rng.uniform(-BEND_MM, BEND_MM, (1, 3, 4, 4, 4))).float()
    return F.interpolate(knots, shape, mode="trilinear", align_corners=True)[0].movedim(0, -1)


def cut(
    scan: Scan,
    middle: NDArray[np.float64],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    bend: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Sample a patch of a scan.

    Args:
        scan: see ``read_scan``.
        middle: of the patch, (z, y, x) voxels of the scan.
        matrix: (3, 3), see ``draw_matrix``.
        shape: (Z, Y, X) voxels of the patch.
        bend: (Z, Y, X, 3) mm, or None.

    Returns:
        Grey levels (Z, Y, X), linear, and classes (Z, Y, X), nearest; air and ``IGNORED`` outside of the scan.
    """
    spacing = torch.tensor(SPACING_XYZ[::-1])
    axes = [torch.arange(size) - (size - 1) // 2 for size in shape]
    steps = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) * spacing
    moved = steps @ torch.from_numpy(matrix).float().T
    if bend is not None:
        moved = moved + bend
    voxels = torch.from_numpy(middle).float() + moved / spacing
    size = torch.tensor(scan.grey.shape)
    inside = ((voxels > -0.5) & (voxels < size - 0.5)).all(dim=-1)
    # grid_sample wants x first, -1 and 1 at the outer voxels' centres.
    places = (2 * voxels / (size - 1) - 1).flip(-1)[None]
    grey = F.grid_sample(scan.grey[None, None], places, padding_mode="border", align_corners=True)[0, 0]
    labels = F.grid_sample(scan.labels.float()[None, None], places, mode="nearest", align_corners=True)[0, 0]
    return torch.where(inside, grey, AIR), torch.where(inside, labels.long(), IGNORED)


def draw_patch(
    scans: Sequence[Scan], shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One sample of the training: grey levels and classes (Z, Y, X), and the classes (C,) that the scan labels.

    Not mirrored: left and right parotids are different structures.
    """
    scan = scans[int(rng.integers(len(scans)))]
    bend = draw_bend(shape, rng) if rng.random() < 0.3 else None
    grey, labels = cut(scan, draw_middle(scan, rng), draw_matrix(rng), shape, bend)
    grey = grey * float(np.exp(rng.uniform(-GAIN, GAIN))) + float(rng.uniform(-SHIFT, SHIFT))
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return grey + NOISE * float(rng.random()) * torch.randn(shape, generator=noise), labels, scan.labelled
