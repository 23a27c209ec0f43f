"""The real lesions of ``lesions/``, the marks that a person would make on them, and plain ways to segment them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, gaussian_filter
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from medlsam.errors import UsageError
from medlsam.geometry import Box, Vector
from medlsam.io.labels import read_label_map
from medlsam.io.read import open_file
from medlsam.io.values import collect
from medlsam.lesion.propagate.planes import connected_to, tight_box
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import oracle_slices
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image, to_canonical

Mask = NDArray[np.bool_]
#: Constants are chosen on the first half of the sarcomas (and on phantoms); figures are reported on the rest.
CHOOSE = tuple(f"sts_{number:03d}" for number in range(1, 8))
#: `deeplesion_*` are grey levels 0 to 255 of a window that is not stored; this one is assumed for all of them.
ASSUMED_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True, eq=False)
class LesionCase:
    """One lesion with its reference.

    Attributes:
        name: of its folder.
        image: canonical scan, HU (assumed HU for ``deeplesion_*``).
        reference: (Z, Y, X).
        key: index of the slice with the largest reference mask: the key slice.
    """

    name: str
    image: Image
    reference: Mask
    key: int

    @property
    def group(self) -> str:
        """``sarcoma, chosen on``, ``sarcoma`` or ``deeplesion``."""
        if self.name.startswith("deeplesion"):
            return "deeplesion"
        return "sarcoma, chosen on" if self.name in CHOOSE else "sarcoma"


def read_cases(folder: Path, names: str | None = None) -> Iterator[LesionCase]:
    """Read the lesions of a folder, all or those whose names begin with one of some comma-separated words."""
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    wanted = tuple(names.split(",")) if names else ("",)
    found = [path for path in found if path.name.startswith(wanted)]
    if not found:
        raise UsageError(f"{folder}: holds no lesion called {names or 'anything'}; give real scans with --ct")
    for path in found:
        yield read_case(path)


def read_case(path: Path) -> LesionCase:
    """Read one lesion; grey levels become HU of the assumed window (``read_image`` rightly refuses them)."""
    with open_file(path / "image.nii.gz") as opened:
        array = collect(opened.parts, opened.grid.shape_zyx, path)
        grid = opened.grid
    if path.name.startswith("deeplesion"):
        low, high = ASSUMED_WINDOW
        array = array.astype(np.float32) / 255 * (high - low) + low
    image = to_canonical(Image(np.rint(array).astype(np.int16), grid))
    reference = to_canonical(read_label_map(path / "labels.nii.gz")).array > 0
    return LesionCase(path.name, image, reference, int(reference.sum(axis=(1, 2)).argmax()))


def box_prompt(case: LesionCase) -> LesionPrompt:
    """Mark a lesion by the tight box of the reference on the key slice."""
    x0, y0, x1, y1 = tight_box(case.reference[case.key])
    low, high = (_lps(case, x, y) for x, y in ((x0, y0), (x1, y1)))
    return LesionPrompt(case.name, box=Box(low, high))


def recist_prompt(case: LesionCase) -> LesionPrompt:
    """Mark a lesion by its longest diameter on the key slice and the longest one perpendicular to it."""
    mask = case.reference[case.key]
    spacing = np.asarray(case.image.grid.spacing_xyz[:2])
    pixels = np.argwhere(mask)[:, ::-1] * spacing
    outline = pixels[ConvexHull(pixels).vertices]
    distances = cdist(outline, outline)
    first, last = (outline[index] for index in np.unravel_index(distances.argmax(), distances.shape))
    along = (last - first) / np.linalg.norm(last - first)
    places = (pixels - first) @ along
    offsets = (pixels - first) @ np.array([-along[1], along[0]])
    # the perpendicular chord is sought at every place along the long one, in steps of a pixel
    widest, where, ends = -1.0, 0.0, (0.0, 0.0)
    for place in np.arange(0, places.max() + 1e-6, spacing.min()):
        own = offsets[np.abs(places - place) <= spacing.max() / 2]
        if own.size and np.ptp(own) > widest:
            widest, where, ends = float(np.ptp(own)), float(place), (float(own.min()), float(own.max()))
    foot, across = first + where * along, np.array([-along[1], along[0]])
    short = [foot + end * across for end in ends]

    def line(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[Vector, Vector]:
        return _lps(case, *(one / spacing)), _lps(case, *(other / spacing))

    return LesionPrompt(case.name, long=line(first, last), short=line(*short))


def point_prompt(case: LesionCase) -> LesionPrompt:
    """Mark a lesion by the pixel of the key slice's reference that lies nearest to its centre."""
    pixels = np.argwhere(case.reference[case.key])[:, ::-1]
    x, y = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return LesionPrompt(case.name, point=_lps(case, float(x), float(y)))


def _lps(case: LesionCase, x: float, y: float) -> Vector:
    a, b, c = case.image.grid.ijk_to_lps((x, y, case.key)).tolist()
    return (a, b, c)


def region_growing(case: LesionCase, width: float = 2.0) -> Mask:
    """Grow a region from the key slice's box: the plain baseline.

    Voxels of the smoothed scan within ``width`` standard deviations of the mean of the box's inner half, connected to
    it, inside the box's rows and columns (it would fill the body otherwise), closed by one voxel.
    """
    x0, y0, x1, y1 = (round(side + 0.5) for side in tight_box(case.reference[case.key]))
    smoothed = gaussian_filter(np.clip(case.image.array, -250, 450).astype(np.float32), (0, 1, 1))
    inner = (
        slice((3 * y0 + y1) // 4, (y0 + 3 * y1) // 4 + 1),
        slice((3 * x0 + x1) // 4, (x0 + 3 * x1) // 4 + 1),
    )
    core = smoothed[case.key][inner]
    inside = np.abs(smoothed - core.mean()) <= max(width * float(core.std()), 10.0)
    cut = np.zeros_like(inside)
    cut[:, y0:y1, x0:x1] = inside[:, y0:y1, x0:x1]
    seed = np.zeros_like(cut)
    seed[case.key][inner] = cut[case.key][inner]
    return np.asarray(binary_closing(connected_to(cut, seed), iterations=1) | seed)


def true_boxes(case: LesionCase, segmenter: Segmenter) -> Mask:
    """Segment each slice with the true box: the ceiling."""
    return filled_in(segmenter.segment(case.image, {"a": oracle_slices(case.reference)})["a"], case)


def filled_in(block: MaskBlock, case: LesionCase) -> Mask:
    """Put a block into a mask of the scan's size."""
    mask = np.zeros(case.reference.shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))] = (
        block.probability >= 0.5
    )
    return mask


def dice(one: Mask, other: Mask) -> float:
    """Dice of two masks; 0 where one of them is empty."""
    return float(2 * (one & other).sum() / max(int(one.sum() + other.sum()), 1))
