"""A pass of the encoder over a scan of any size in bounded memory, with the same result as one pass over the whole.

Nearly all memory goes into the maps at strides 1 and 2, and what those layers see around a cell is small; nearly
all of the receptive field comes from strides 8 and 16, where a whole scan is small. So only the two fine parts of
the encoder run tile by tile, each with a halo of what it sees, and the part between them runs over the whole scan.
Tiles of the entire encoder would need a halo of its whole receptive field and several times the work.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product

import torch
from torch import Tensor

from medlsam.localize.network.encoder import SIZE_MULTIPLE, Encoder, EncoderOutput

#: Input voxels of a tile with its halo: about a gigabyte of maps. A scan of the trunk passes whole, twice as fast.
BUDGET = 2_200_000
#: Halos are multiples of the coarsest stride that a fine part reads.
_ALIGNMENT = 4

_Span = tuple[int, int]
_Piece = Callable[[Mapping[int, Tensor]], dict[int, Tensor]]


@torch.inference_mode()
def encode(
    encoder: Encoder,
    x: Tensor,
    device: torch.device | None = None,
    budget: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> EncoderOutput:
    """Compute ``encoder(x)``, to rounding, with no more than a tile of the fine maps in memory.

    Args:
        encoder: in evaluation mode (batch statistics would depend on the tile).
        x: (1, 1, Z, Y, X) normalised HU, sizes multiples of 16; may lie on another device than the encoder.
        device: where the encoder is.
        budget: input voxels of a tile with its halo; ``BUDGET`` where None. The smallest tile may be larger.
        dtype: of the features that are returned.

    Returns:
        The encoder's output on the CPU, in ``channels_last_3d``.

    Raises:
        ValueError: the encoder is in training mode, or sizes do not fit.
    """
    if encoder.training:
        raise ValueError("tiles need an encoder in evaluation mode: call encoder.eval()")
    encoder.check_size(x)
    device = device or torch.device("cpu")
    budget = BUDGET if budget is None else budget

    def enter(maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        return {2: encoder.enter(maps[1].to(device))}

    def leave(maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        fine = encoder.leave(maps[4], maps[2], maps[1].to(device))
        return {stride: level.to(dtype) for stride, level in encoder.features(fine).items()}

    whole = math.prod(x.shape[2:]) <= budget
    # How far a layer looks does not depend on its precision.
    with torch.autocast(device.type, enabled=False):
        halos = (0, 0) if whole else reaches(encoder)
    entered = _tiled(enter, {1: x}, halos[0], budget, device)[2]
    levels = encoder.middle(entered)
    found = {
        stride: level.to("cpu", dtype, memory_format=torch.channels_last_3d)
        for stride, level in encoder.features(levels).items()
    }
    positions, error = encoder.votes(levels)
    found |= _tiled(leave, {1: x, 2: entered, 4: levels[4]}, halos[1], budget, torch.device("cpu"))
    first, second, third = (found[stride] for stride in encoder.config.feature_strides)
    return EncoderOutput(positions.cpu(), (first, second, third), None if error is None else error.cpu())


@torch.inference_mode()
def reaches(encoder: Encoder) -> tuple[int, int]:
    """How many input voxels the entering and the leaving part of an encoder look beyond a cell, rounded up to 4.

    Measured, not derived from kernel sizes: half of a small scan is made NaN, and what has become NaN in the other
    half is what looks there. That holds for every layer, whatever it is made of.
    """
    # On the CPU: other devices may choose algorithms (FFT) that carry NaN further than the kernel does.
    probe = copy.deepcopy(encoder).cpu().eval()
    length = 4 * SIZE_MULTIPLE
    while True:
        entering, leaving = _reach_of(probe, length)
        if max(entering, leaving) < length // 2:
            return entering, leaving
        length *= 2


def _reach_of(encoder: Encoder, length: int) -> _Span:
    entering = leaving = 0
    for axis, end in product(range(2, 5), (False, True)):
        shape = [SIZE_MULTIPLE] * 3
        shape[axis - 2] = length
        scan = torch.zeros(1, 1, *shape)
        sound = encoder.enter(scan)
        four = encoder.middle(sound)[4]
        for level in (scan, sound, four):
            half = level.shape[axis] // 2
            level.narrow(axis, half if end else 0, half).fill_(math.nan)
        entering = max(entering, _spread(encoder.enter(scan), axis, length))
        for level in encoder.leave(four, sound, scan).values():
            leaving = max(leaving, _spread(level, axis, length))
    return entering, leaving


def _spread(level: Tensor, axis: int, length: int) -> int:
    """Input voxels by which NaN has passed the middle of an axis, rounded up to the alignment."""
    lost = sum(bool(plane.isnan().any()) for plane in level.unbind(axis))
    stride = length // level.shape[axis]
    return math.ceil((lost * stride - length // 2) / _ALIGNMENT) * _ALIGNMENT


def _tiled(
    piece: _Piece, maps: Mapping[int, Tensor], halo: int, budget: int, device: torch.device
) -> dict[int, Tensor]:
    """Run a part of the encoder tile by tile.

    Args:
        piece: maps by stride to maps by stride.
        maps: (1, C, Z/s, Y/s, X/s) by stride s, with the scan itself at 1.
        halo: input voxels around a tile that its results depend on.
        budget: input voxels of a tile with its halo.
        device: where the results are put together.
    """
    shape = maps[1].shape[2:]
    results: dict[int, Tensor] = {}
    for inner, outer in tiles(shape, halo, budget):
        parts = piece({stride: level[_at(outer, (0, 0, 0), stride)] for stride, level in maps.items()})
        for stride, part in parts.items():
            if stride not in results:
                size = (1, part.shape[1], *(n // stride for n in shape))
                results[stride] = torch.empty(
                    size, dtype=part.dtype, device=device, memory_format=torch.channels_last_3d
                )
            starts = (outer[0][0], outer[1][0], outer[2][0])
            results[stride][_at(inner, (0, 0, 0), stride)] = part[_at(inner, starts, stride)].to(device)
    return results


def tiles(
    shape: tuple[int, ...], halo: int, budget: int
) -> Iterator[tuple[tuple[_Span, ...], tuple[_Span, ...]]]:
    """Cut a scan into tiles of the size that costs the fewest voxels, halos counted.

    Args:
        shape: (Z, Y, X) voxels, multiples of 16.
        halo: voxels around a tile, cut off at the scan's own borders.
        budget: voxels of a tile with its halo; where no tile is small enough, the smallest are taken.

    Yields:
        (start, stop) along Z, Y and X of the tile, and of the tile with its halo.
    """

    def largest(size: tuple[int, ...]) -> int:
        return math.prod(min(n + 2 * halo, whole) for n, whole in zip(size, shape, strict=True))

    def cost(size: tuple[int, ...]) -> int:
        # Every cut is looked at from both sides.
        return math.prod(
            whole + 2 * halo * (math.ceil(whole / n) - 1) for n, whole in zip(size, shape, strict=True)
        )

    sizes = list(product(*(range(SIZE_MULTIPLE, whole + 1, SIZE_MULTIPLE) for whole in shape)))
    fitting = [size for size in sizes if largest(size) <= budget] or sizes[:1]
    best = min(fitting, key=lambda size: (cost(size), -largest(size)))
    spans = [
        [(a, min(a + n, whole)) for a in range(0, whole, n)] for n, whole in zip(best, shape, strict=True)
    ]
    for inner in product(*spans):
        yield (
            inner,
            tuple((max(a - halo, 0), min(b + halo, n)) for (a, b), n in zip(inner, shape, strict=True)),
        )


def _at(spans: tuple[_Span, ...], starts: tuple[int, int, int], stride: int) -> tuple[slice, ...]:
    """Index of the cells at a stride that cover spans of input voxels, counted from ``starts``."""
    cells = ((a - s, b - s) for (a, b), s in zip(spans, starts, strict=True))
    return (slice(None), slice(None), *(slice(a // stride, b // stride) for a, b in cells))
