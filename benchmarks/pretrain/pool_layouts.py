"""The layouts that ``benchmarks/pretrain/pool.py`` compares: ours, memory-mapped arrays, Zarr and blosc2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import progress
from medlsam.pool.packed_scan import LEVELS_HU, PackedScan, to_codes, write_packed_scan
from medlsam.volume import Image

_CHUNK = (32, 32, 32)
Crop = Callable[[Sequence[slice]], NDArray[np.float32]]


@dataclass(frozen=True)
class Layout:
    """A way to keep a scan.

    Attributes:
        name: for the table.
        write: writes a scan to a path (a file or a folder).
        read: opens it and gives a function from slices to HU.
    """

    name: str
    write: Callable[[Path, Image], None]
    read: Callable[[Path], Crop]


def hu_of(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    return LEVELS_HU.astype(np.float32)[codes]


def _stored(volume: Image, packed: bool) -> NDArray[Any]:
    return to_codes(volume.array) if packed else np.rint(volume.array).astype(np.int16)


def _decoded(array: Any, packed: bool) -> Crop:
    def crop(where: Sequence[slice]) -> NDArray[np.float32]:
        part = np.asarray(array[tuple(where)])
        return hu_of(part) if packed else part.astype(np.float32)

    return crop


def write_npy(path: Path, volume: Image, packed: bool) -> None:
    with path.open("wb") as file:
        np.save(file, _stored(volume, packed))


def read_npy(path: Path, packed: bool) -> Crop:
    return _decoded(np.load(path, mmap_mode="r"), packed)


def read_ours(path: Path) -> Crop:
    shard = PackedScan(path)
    return lambda where: shard.crop([w.start for w in where], [w.stop - w.start for w in where])


def write_zarr(path: Path, volume: Image, packed: bool) -> None:
    import zarr

    data = _stored(volume, packed)
    whole = tuple(-(-n // c) * c for n, c in zip(data.shape, _CHUNK, strict=True))
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
    array = zarr.create_array(
        path, shape=data.shape, dtype=data.dtype, chunks=_CHUNK, shards=whole, compressors=codec
    )
    array[:] = data


def read_zarr(path: Path, packed: bool) -> Crop:
    import zarr

    return _decoded(zarr.open_array(path, mode="r"), packed)


def write_blosc2(path: Path, volume: Image, packed: bool) -> None:
    import blosc2

    data = _stored(volume, packed)
    chunks = tuple(min(64, n) for n in data.shape)
    blocks = tuple(min(c, n) for c, n in zip(_CHUNK, chunks, strict=True))
    blosc2.asarray(data, urlpath=str(path), chunks=chunks, blocks=blocks, mode="w")


def read_blosc2(path: Path, packed: bool) -> Crop:
    import blosc2

    blosc2.set_nthreads(1)
    return _decoded(blosc2.open(str(path), mode="r"), packed)


def layouts() -> list[Layout]:
    """The layouts that can be measured here."""
    made = [Layout("shards of bricks, 8 bits (medlsam)", write_packed_scan, read_ours)]
    kinds: list[tuple[str, str | None, Any, Any]] = [
        ("memory-mapped array", None, write_npy, read_npy),
        ("Zarr v3, one shard a scan, zstd", "zarr", write_zarr, read_zarr),
        ("blosc2, zstd", "blosc2", write_blosc2, read_blosc2),
    ]
    for name, module, write, read in kinds:
        try:
            if module is not None:
                __import__(module)
        except ImportError:
            progress(f"{module} is not installed: left out")
            continue
        for packed in (False, True):
            bits = "8 bits" if packed else "int16"
            made.append(
                Layout(f"{name}, {bits}", partial(write, packed=packed), partial(read, packed=packed))
            )
    return made
