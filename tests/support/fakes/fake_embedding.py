"""An embedding with known answers: latent positions that are exact, and features that differ from place to place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from medlsam.geometry import Grid
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.network.sampling import cell_centres

RANGE = torch.tensor([600.0, 600.0, 1500.0])


def anatomy(points: torch.Tensor) -> torch.Tensor:
    """(..., 24) features of a place: three scales of eight slowly varying channels, each a unit vector."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for scale in (60.0, 35.0, 25.0):
        waves = torch.randn(3, 8, generator=generator) / scale
        phase = torch.rand(8, generator=generator) * 6.28
        parts.append(torch.nn.functional.normalize(torch.sin(points @ waves + phase), dim=-1))
    return torch.cat(parts, dim=-1)


def fake_embedding(
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
    unbend: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Embedding:
    """A scan whose anatomy is that of the reference, scaled about the origin and then shifted (mm).

    A reference place ``p`` lies at ``scale * p + shift`` in this scan; or, where ``unbend`` is given, ``unbend(q)`` at
    ``scale * q + shift``.
    """
    origin = np.asarray(shift) - 128.0 * scale
    grid = Grid((64, 64, 64), (4.0 * scale,) * 3, (origin[0], origin[1], origin[2]))

    def reference(stride: int) -> torch.Tensor:
        cells = cell_centres((64 // stride,) * 3, stride) * 4.0 * scale
        places = cells + torch.tensor(origin, dtype=torch.float32)
        straight = (places - torch.tensor(shift)) / scale
        return straight if unbend is None else unbend(straight)

    # In scan millimetres the offset between cells a and b is r * tanh(p_b - p_a) only approximately when p is
    # place / r; within 250 mm the error stays below 1 %.
    positions = (reference(8) * scale / RANGE).permute(3, 0, 1, 2)
    # Three scales, coarse to fine; each has its own third of the channels.
    strides = (8, 4, 2)
    features = tuple(
        anatomy(reference(stride))[..., 8 * i : 8 * i + 8].permute(3, 0, 1, 2).contiguous()
        for i, stride in enumerate(strides)
    )
    box = grid.box
    return Embedding(
        grid=grid,
        view=(np.asarray(box.min), np.asarray(box.max)),
        positions=positions.contiguous(),
        features=features,
        strides=strides,
        body8=torch.ones(8, 8, 8, dtype=torch.bool),
        range_mm=RANGE,
    )
