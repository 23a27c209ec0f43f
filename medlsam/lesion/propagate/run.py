"""All lesions of one scan: from a prompts file to masks on the scan's own grid, each with its organ.

A lesion that fails is reported and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, MedlsamError, VolumeError
from medlsam.geometry import Grid, filled, tight_slices
from medlsam.lesion.propagate.key_slice import marked_hu
from medlsam.lesion.propagate.memory import MemoryOptions, propagate_lesion
from medlsam.lesion.propagate.organ import LesionOrgan, OrganRule, Organs, lesion_organ
from medlsam.lesion.propagate.prompt_policy import PromptPolicy, segment_key_slice
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.measure.recist import recist_diameters
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.protocol import Segmenter
from medlsam.segment.windows import InWindow, choose_window
from medlsam.volume import Image, LabelMap, from_canonical, to_canonical


class Propagator(Protocol):
    """From a mark on one slice to a 3D mask."""

    def propagate(
        self, volume: Image, prompt: LesionPrompt, stopwatch: Stopwatch | None = None
    ) -> tuple[int, MaskBlock]:
        """Segment a lesion in a canonical scan: index of the key slice, and probabilities.

        Raises:
            GeometryError: the mark lies outside of the scan.
        """


@dataclass(frozen=True)
class MemoryPropagator:
    """Our own propagator, with any registered segmenter.

    Attributes:
        segmenter: the model.
        policy: of the key slice; None for the default of each kind of mark.
        options: of the memory.
    """

    segmenter: Segmenter
    policy: PromptPolicy | None = None
    options: MemoryOptions = field(default_factory=MemoryOptions)

    def propagate(
        self, volume: Image, prompt: LesionPrompt, stopwatch: Stopwatch | None = None
    ) -> tuple[int, MaskBlock]:
        """See ``Propagator.propagate``. Whole-slice models are shown the window that suits the marked tissue."""
        segmenter, spec = self.segmenter, self.segmenter.spec
        if spec.kind == "sam" and (window := choose_window(marked_hu(prompt, volume), spec)):
            segmenter = InWindow(segmenter, window)
        z, key = segment_key_slice(segmenter, volume, prompt, self.policy, stopwatch)
        return z, propagate_lesion(segmenter, volume, z, key, self.options, stopwatch)


@dataclass(frozen=True, eq=False)
class LesionMask:
    """One lesion, segmented.

    Attributes:
        prompt: what it was segmented from.
        value: its value in the label map.
        part: its mask within its bounds on the scan's own grid; whole scans for each of many lesions would fill the
            memory.
        start_zyx: index of the part's first voxel.
        shape_zyx: of the scan.
        key_index: the key slice's index in the canonical scan, from the feet up, from 0.
        organ: where it is; None where no organs were given.
        volume_ml: of the mask.
        slices: how many axial slices hold it.
        longest_mm: longest axial diameter (``medlsam.measure.recist``).
        perpendicular_mm: the short axis, perpendicular to it in the same slice.
        mean_hu: inside.
        seconds: wall seconds.
    """

    prompt: LesionPrompt
    value: int
    part: NDArray[np.bool_]
    start_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]
    key_index: int
    organ: LesionOrgan | None
    volume_ml: float
    slices: int
    longest_mm: float
    perpendicular_mm: float
    mean_hu: float
    seconds: float

    @property
    def bounds(self) -> tuple[slice, ...]:
        """Where the part lies in the scan, (Z, Y, X)."""
        return tuple(slice(a, a + n) for a, n in zip(self.start_zyx, self.part.shape, strict=True))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(Z, Y, X) on the scan's own grid, made anew at each call."""
        whole: NDArray[np.bool_] = np.zeros(self.shape_zyx, bool)
        whole[self.bounds] = self.part
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Its entry in ``lesions.json``."""
        return {
            "name": self.prompt.name,
            "type": self.prompt.type or None,
            "value": self.value,
            "prompt": self.prompt.kind,
            "key_slice_mm": round(self.prompt.z_mm, 2),
            "organ": None if self.organ is None else self.organ.to_dict(),
            "volume_ml": round(self.volume_ml, 4),
            "slices": self.slices,
            "longest_mm": round(self.longest_mm, 2),
            "perpendicular_mm": round(self.perpendicular_mm, 2),
            "mean_hu": round(self.mean_hu, 1),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, eq=False)
class PropagatedLesions:
    """All lesions of a scan.

    Attributes:
        labels: label map on the scan's own grid; where two lesions overlap, the later one has the voxel.
        names: value to lesion.
        lesions: those that have a mask.
        failed: name to what is wrong, of those that have none.
        overlaps: pairs of lesions that share voxels; figures are of each lesion's whole mask.
    """

    labels: LabelMap
    names: Mapping[int, str]
    lesions: tuple[LesionMask, ...]
    failed: Mapping[str, str]
    overlaps: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content of ``lesions.json``."""
        return {
            "coordinate_system": "LPS",
            "units": "mm",
            "lesions": [lesion.to_dict() for lesion in self.lesions],
            "overlaps": [list(pair) for pair in self.overlaps],
            "failed": [{"name": name, "error": text} for name, text in self.failed.items()],
        }


def propagate_lesions(
    scan: Image,
    prompts: Sequence[LesionPrompt],
    propagator: Propagator,
    organs: Organs | None = None,
    rule: OrganRule | None = None,
    on_progress: Callable[[str], object] | None = None,
) -> PropagatedLesions:
    """Segment marked lesions in 3D.

    Args:
        scan: in any direction.
        prompts: the lesions; their names become the label map's.
        propagator: from a mark to a mask, such as ``MemoryPropagator``.
        organs: masks on the scan's own grid (``read_organs``); None leaves the organ open.
        rule: when a lesion counts as an organ's.
        on_progress: is told the name of each lesion.
    """
    volume = to_canonical(scan)
    # one label a lesion; a table has no more
    labels = np.zeros(scan.grid.shape_zyx, np.uint8 if len(prompts) < 256 else np.uint16)
    found: list[LesionMask] = []
    failed: dict[str, str] = {}
    overlaps: list[tuple[str, str]] = []
    for value, prompt in enumerate(prompts, start=1):
        if on_progress is not None:
            on_progress(prompt.name)
        watch = Stopwatch()
        try:
            with watch("lesion"):
                z, block = propagator.propagate(volume, prompt)
                mask = _on(scan.grid, block, volume)
            lesion = _measured(prompt, value, mask, z, scan, organs, rule, watch.seconds["lesion"])
        except MedlsamError as error:
            failed[prompt.name] = str(error)
            continue
        overlaps += [(own.prompt.name, prompt.name) for own in found if _overlap(own, lesion)]
        found.append(lesion)
        labels[lesion.bounds][lesion.part] = value
    names = {lesion.value: lesion.prompt.name for lesion in found}
    return PropagatedLesions(
        LabelMap(labels, scan.grid, scan.source), names, tuple(found), failed, tuple(overlaps)
    )


def _overlap(one: LesionMask, other: LesionMask) -> bool:
    """Whether two lesions share a voxel, also one that a third has in the label map."""
    common = [
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(one.bounds, other.bounds, strict=True)
    ]
    if any(span.start >= span.stop for span in common):
        return False
    own, others = (
        lesion.part[
            tuple(slice(c.start - a, c.stop - a) for c, a in zip(common, lesion.start_zyx, strict=True))
        ]
        for lesion in (one, other)
    )
    return bool((own & others).any())


def _on(grid: Grid, block: MaskBlock, volume: Image) -> NDArray[np.bool_]:
    """Bring a block of the canonical scan onto the scan's own grid."""
    whole: NDArray[np.uint8] = np.zeros(volume.grid.shape_zyx, np.uint8)
    place = tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))
    whole[place] = block.probability >= 0.5
    return np.asarray(from_canonical(whole, volume.grid, grid) > 0)


def _measured(
    prompt: LesionPrompt,
    value: int,
    mask: NDArray[np.bool_],
    z: int,
    scan: Image,
    organs: Organs | None,
    rule: OrganRule | None,
    seconds: float,
) -> LesionMask:
    if not mask.any():
        raise VolumeError(
            f"{prompt.name}: the segmenter finds nothing at the mark; draw it anew, or give a box"
        )
    if organs is not None and organs.labels.shape != mask.shape:
        raise GeometryError(f"{prompt.name}: the organs do not lie on the scan's grid; see read_organs")
    box = tight_slices(mask)
    part = LabelMap(mask[box].astype(np.uint8), _part_grid(scan.grid, box))
    upright = to_canonical(part)
    own = upright.array > 0
    diameters = recist_diameters(own, upright.grid.spacing_xyz)
    first = box[0].start, box[1].start, box[2].start
    return LesionMask(
        prompt,
        value,
        mask[box].copy(),
        first,
        scan.grid.shape_zyx,
        z,
        None if organs is None else lesion_organ(mask, organs, rule),
        float(mask.sum()) * scan.grid.voxel_ml,
        len(filled(own, 0)),
        diameters.longest_mm,
        diameters.perpendicular_mm,
        float(scan.array[mask].mean()),
        seconds,
    )


def _part_grid(grid: Grid, box: tuple[slice, ...]) -> Grid:
    z, y, x = (span.stop - span.start for span in box)
    origin = grid.ijk_to_lps([span.start for span in reversed(box)])
    return Grid(
        (z, y, x), grid.spacing_xyz, (float(origin[0]), float(origin[1]), float(origin[2])), grid.direction
    )
