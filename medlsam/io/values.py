"""From the values of a file, part by part, to one array of the smallest kind that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.checks import not_finite
from medlsam.volume.volume import Source

_LOW, _HIGH = np.iinfo(np.int16).min, np.iinfo(np.int16).max


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """What an image file or DICOM series holds, before its values are put together.

    Attributes:
        grid: where the voxels lie, LPS mm.
        parts: values in the order of the file, to be taken once.
        source: where they come from.
    """

    grid: Grid
    parts: Iterator[NDArray[Any]]
    source: Source


def collect(parts: Iterable[NDArray[Any]], shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """Put the parts of a file together, holding one array and one part at a time.

    Args:
        parts: values in the order of the file, of any real type.
        shape: (Z, Y, X) of all parts together.
        path: for messages.

    Returns:
        (Z, Y, X): int16 where all values are whole and none passes 32767 (lower ones than -32768, which are padding,
        become that), else float32.

    Raises:
        VolumeError: values are NaN or infinite, or there are more or fewer than ``shape`` holds.
    """
    array: NDArray[Any] = np.empty(shape, np.int16)
    flat, done, bad = array.reshape(-1), 0, 0
    for part in (p.reshape(-1) for p in parts):
        start, done = done, done + part.size
        if done > flat.size:
            break
        if part.dtype.kind == "f":
            bad += int(part.size - np.isfinite(part).sum())
        if flat.dtype == np.int16 and not _fits(part):
            array = np.empty(shape, np.float32)
            array.reshape(-1)[:start] = flat[:start]
            flat = array.reshape(-1)
        # Of signed numbers alone, some may lie below what int16 holds.
        low = flat.dtype == np.int16 and part.dtype.kind in "if" and part.dtype.itemsize > 2
        flat[start:done] = np.maximum(part, part.dtype.type(_LOW)) if low else part
    if done != flat.size:
        than = "more" if done > flat.size else "fewer"
        raise VolumeError(
            f"{path}: the file holds {than} voxels than the {flat.size} of its header; copy it again"
        )
    if bad:
        raise not_finite(path, bad)
    return array


def _fits(part: NDArray[Any]) -> bool:
    if part.dtype.kind == "f":
        return bool(part.max() <= _HIGH and (np.rint(part) == part).all())
    return part.dtype in (np.int16, np.int8, np.uint8) or bool(part.max() <= _HIGH)
