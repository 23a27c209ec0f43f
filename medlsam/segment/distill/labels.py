"""A teacher's masks on disk, a file a scan: made once, so that a killed run goes on where it was.

The file's name is a hash of all that the masks depend on (the teacher, the pixels, the boxes). It holds the masks as
the teacher gave them, with what it thinks of them, so other limits need no second pass; and the pixels that a student
needs: each slice with its neighbours, no scan is read again.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medlsam.geometry import Grid
from medlsam.runtime.atomic_files import atomic_path
from medlsam.segment.distill.judge import Fault, judge
from medlsam.segment.distill.prompts import SliceBoxes
from medlsam.segment.distill.teacher import Teacher
from medlsam.segment.sam_tiny.crops import neighbour_step, planes_at
from medlsam.volume import Image
from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

# Changes when the content of the files changes.
_LAYOUT = 1
#: Slices in the file of one labelled slice: the one below, itself, and the one above.
STACK = 3


@dataclass(frozen=True, eq=False)
class Slab:
    """A slice between its neighbours, as a small scan.

    Attributes:
        image: (3, Y, X) HU: below, the slice itself, above.
        spacing_zyx: mm; along z it is the distance at which the student looks at neighbours.
    """

    image: NDArray[np.int16]
    spacing_zyx: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class TeacherMask:
    """A mask that can be learned.

    Attributes:
        row: of the slice in the file.
        pixels: (H, W).
    """

    row: int
    pixels: NDArray[np.bool_]


@dataclass(eq=False)
class TaughtScan:
    """A scan with a teacher's masks.

    Attributes:
        name: of the scan.
        patient: the scan's.
        file: of the masks.
        spacing_zyx: mm; see ``Slab``.
        kept: indices of the masks that can be learned.
        dropped: fault to number of masks.
    """

    name: str
    patient: str
    file: Path
    spacing_zyx: tuple[float, float, float]
    kept: list[int] = field(default_factory=list)
    dropped: Counter[Fault] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._open: Any = None
        self._least = 0.0

    def judge(self, least_quality: float) -> None:
        """Go through all masks, and note which can be learned."""
        self._least = least_quality
        self.kept, self.dropped = [], Counter()
        for index in range(len(self._tensor("quality"))):
            found = self._judged(index)
            if isinstance(found, str):
                self.dropped[found] += 1
            else:
                self.kept.append(index)

    def mask(self, index: int) -> TeacherMask:
        """Read a mask that ``judge`` kept."""
        found = self._judged(index)
        assert not isinstance(found, str), "judged before"
        return TeacherMask(int(self._row("slice", index)), found)

    def slab(self, row: int) -> Slab:
        """Read a slice with its neighbours."""
        return Slab(self._row("planes", row), self.spacing_zyx)

    def image(self) -> Image:
        """Stack all slabs into one scan: slice ``STACK * row + 1`` is that of a mask's row."""
        stack = self._tensor("planes")
        stack = stack.reshape(-1, *stack.shape[2:])
        z, y, x = self.spacing_zyx
        rows, columns = stack.shape[1:]
        return Image(stack, Grid((len(stack), rows, columns), (x, y, z)))

    def _judged(self, index: int) -> NDArray[np.bool_] | Fault:
        shape = self._tensor("shape")
        bits = np.unpackbits(self._row("mask", index), count=int(shape.prod()))
        x0, y0, x1, y1 = self._row("box", index).tolist()
        quality = float(self._row("quality", index))
        return judge(bits.reshape(shape).astype(bool), (x0, y0, x1, y1), quality, self._least)

    def _tensor(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self._opened().get_tensor(name).numpy()
        return found

    def _row(self, name: str, index: int) -> NDArray[Any]:
        found: NDArray[Any] = self._opened().get_slice(name)[index : index + 1].numpy()[0]
        return found

    def _opened(self) -> Any:
        if self._open is None:
            self._open = safe_open(self.file, framework="pt")
        return self._open

    def __getstate__(self) -> dict[str, Any]:
        # processes that draw crops open the file themselves
        return {**self.__dict__, "_open": None}


class Labelling:
    """Lets a teacher label scans, and tells how long it still takes.

    Attributes:
        seconds: of every slice that was encoded and decoded in this run.
        reused: scans whose masks were there.
    """

    def __init__(
        self,
        teacher: Teacher,
        folder: Path,
        neighbour_mm: float,
        slices_left: int,
        tell: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            teacher: the large model.
            folder: of the masks.
            neighbour_mm: distance of the slices that the student looks at besides.
            slices_left: the most slices to come, for the estimate.
            tell: gets the estimate.
        """
        self.teacher, self.folder, self.neighbour_mm, self.tell = teacher, folder, neighbour_mm, tell
        self.slices_left = slices_left
        self.seconds: list[float] = []
        self.reused = 0

    def label(
        self, name: str, patient: str, image: Image, planned: Sequence[SliceBoxes], most: int
    ) -> TaughtScan:
        """Label a scan, unless that was done.

        Args:
            name: of the scan.
            patient: the scan's.
            image: canonical, HU.
            planned: slices and boxes, not empty.
            most: slices that were counted for this scan in the estimate.
        """
        spacing_x, spacing_y, spacing_z = image.grid.spacing_xyz
        step = neighbour_step(spacing_z, self.neighbour_mm)
        file = self.folder / f"{_key(self.teacher, image, planned, step)}.safetensors"
        if _readable(file):
            self.reused += 1
            self.slices_left -= most
        else:
            _write(file, self._tensors(image, planned, step, most))
        return TaughtScan(name, patient, file, (self.neighbour_mm, spacing_y, spacing_x))

    def _tensors(
        self, image: Image, planned: Sequence[SliceBoxes], step: int, most: int
    ) -> dict[str, NDArray[Any]]:
        masks, qualities = [], []
        shape = (image.array.shape[1], image.array.shape[2])
        self.slices_left -= most - len(planned)
        for own in planned:
            began = time.monotonic()
            found, quality = self.teacher.decode(
                self.teacher.encode(image.array[own.z]), np.array(own.boxes), shape
            )
            self.seconds.append(time.monotonic() - began)
            self.slices_left -= 1
            masks += [np.packbits(mask) for mask in found]
            qualities += quality.tolist()
            if len(self.seconds) == 1:
                self.tell(self.estimate())
        planes = np.stack([_stacked(image.array, own.z, step) for own in planned])
        rows = [row for row, own in enumerate(planned) for _ in own.boxes]
        return {
            "planes": np.clip(planes, LOWEST_HU, HIGHEST_HU).astype(np.int16),
            "z": np.array([own.z for own in planned]),
            "slice": np.array(rows),
            "box": np.array([box for own in planned for box in own.boxes], np.float64),
            "quality": np.array(qualities, np.float32),
            "mask": np.stack(masks),
            "shape": np.array(shape),
        }

    def estimate(self) -> str:
        """Say how long a slice takes, and all that are left."""
        each = float(np.median(self.seconds))
        return (
            f"{self.teacher.name} takes {each:.2g} s a slice: at most {in_words(each * self.slices_left)} for the "
            f"{self.slices_left} slices that are left"
        )


def in_words(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _stacked(stack: NDArray[np.generic], z: int, step: int) -> NDArray[np.generic]:
    own, below, above = planes_at(stack, z, step)
    return np.stack([below, own, above])


def _key(teacher: Teacher, image: Image, planned: Sequence[SliceBoxes], step: int) -> str:
    what = hashlib.sha256()
    for value in (
        _LAYOUT,
        teacher.name,
        teacher.signature,
        image.grid,
        image.array.dtype,
        list(planned),
        step,
    ):
        what.update(f"{value!r}\n".encode())
    what.update(np.ascontiguousarray(image.array).data)
    return what.hexdigest()[:40]


def _readable(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        safe_open(file, framework="pt")
    except (SafetensorError, OSError):  # cut off by a full disk
        return False
    return True


def _write(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with atomic_path(file) as temporary:
        save_file({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}, temporary)
