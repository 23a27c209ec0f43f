"""Tiles give what one pass over the whole scan gives, whatever the tiles' size and the encoder's layers."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from medlsam.localize.network import tiling
from medlsam.localize.network.encoder import (
    Encoder,
    EncoderConfig,
    EncoderOutput,
    fast_layout,
)
from medlsam.localize.network.tiling import encode, reaches, tiles

KINDS = {
    "strides 8 4 2": {},
    "strides 4 2 1": {"feature_strides": (4, 2, 1), "vote_error": True, "full_channels": 6},
    "deeper at stride 2": {"blocks": (3, 1, 1, 1)},
}
SHAPE = (80, 32, 32)


def make(**options: object) -> Encoder:
    """A small encoder with random weights and random statistics: padding with zeros is far from the usual value."""
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "channels": (12, 12, 16, 20), "blocks": (1, 1, 1, 1), "fine_channels": 12, "feature_dim": 6
    }  # fmt: skip
    encoder = Encoder(EncoderConfig(**(settings | options)))  # type: ignore[arg-type]
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, 0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.5, 0.5)
    return fast_layout(encoder.eval())


@pytest.fixture(scope="module", params=list(KINDS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return make(**KINDS[request.param])


def scan(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(1))


def maps(output: EncoderOutput) -> list[Tensor]:
    error = [] if output.vote_error is None else [output.vote_error]
    return [output.positions, *output.features, *error]


def difference(one: EncoderOutput, other: EncoderOutput) -> float:
    pairs = list(zip(maps(one), maps(other), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("budget", [10_000_000, 50_000, 1])
def test_tiles_equal_the_whole(encoder: Encoder, budget: int) -> None:
    with torch.inference_mode():
        whole = encoder(scan())
    assert difference(encode(encoder, scan(), budget=budget), whole) < 1e-6


def test_one_halo_less_is_too_little(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured reach is needed: with 4 voxels less of it the answer differs at the tiles' borders."""
    with torch.inference_mode():
        whole = encoder(scan())
    entering, leaving = reaches(encoder)
    for short in ((entering - 4, leaving), (entering, leaving - 4)):
        monkeypatch.setattr(tiling, "reaches", lambda _, short=short: short)
        assert difference(encode(encoder, scan(), budget=40_000), whole) > 1e-5


def test_reaches_are_what_the_layers_add_up_to() -> None:
    # Entering: 3 or 7 convolutions at stride 2, 6 or 14 voxels. Leaving: one cell of stride 2 by upsampling and one by
    # a convolution, 4 voxels; to stride 1 two more convolutions, 5 or 6 voxels. Rounded up to multiples of 4.
    assert reaches(make()) == (8, 4)
    assert reaches(make(**KINDS["deeper at stride 2"])) == (16, 4)
    assert reaches(make(**KINDS["strides 4 2 1"])) == (8, 8)
    assert reaches(make(blocks=(9, 1, 1, 1)))[0] == 40  # further than half of the first probe


def test_the_answer_is_half_precision_where_that_is_asked_for(encoder: Encoder) -> None:
    with torch.inference_mode():
        whole = encoder(scan())
    output = encode(encoder, scan(), budget=40_000, dtype=torch.float16)
    assert all(level.dtype == torch.float16 for level in output.features)
    assert output.positions.dtype == torch.float32
    for level, reference in zip(output.features, whole.features, strict=True):
        assert float((level.float() - reference).abs().max()) < 1e-3
        # One row a cell, without a copy.
        assert level[0].flatten(1).T.is_contiguous()


def test_wrong_calls_are_told(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        encode(encoder, torch.zeros(1, 1, 32, 40, 32))
    with pytest.raises(ValueError, match="evaluation mode"):
        encode(make().train(), scan())


@pytest.mark.parametrize("shape", [(416, 112, 112), (32, 32, 32), (64, 160, 160)])
@pytest.mark.parametrize("budget", [1_000_000, 120_000, 1])
def test_tiles_cover_the_scan_once_within_the_budget(shape: tuple[int, ...], budget: int) -> None:
    seen = torch.zeros(shape, dtype=torch.int32)
    for inner, outer in tiles(shape, 8, budget):
        seen[tuple(slice(*span) for span in inner)] += 1
        for (a, b), (c, d), n in zip(inner, outer, shape, strict=True):
            assert (c, d) == (max(a - 8, 0), min(b + 8, n))
        assert math.prod(b - a for a, b in outer) <= max(budget, 32**3)
    assert (seen == 1).all()


def test_long_scans_are_cut_along_their_length() -> None:
    cuts = [inner for inner, _ in tiles((416, 112, 112), 8, 820_000)]
    assert all(inner[1:] == ((0, 112), (0, 112)) for inner in cuts)
    assert all(a[0][1] == b[0][0] for a, b in pairwise(cuts))
    assert len(cuts) == 9


def test_every_corner_of_a_tile_is_right() -> None:
    """Borders of the scan and borders between tiles along all three axes at once."""
    encoder = make(**KINDS["strides 4 2 1"])
    shape = (48, 48, 48)
    with torch.inference_mode():
        whole = encoder(scan(shape))
    output = encode(encoder, scan(shape), budget=36_000)
    assert len(list(tiles(shape, 8, 36_000))) == 27
    off = (output.features[2] - whole.features[2]).abs().amax(dim=1)[0]
    for z, y, x in product((0, 15, 16, 47), repeat=3):
        assert off[z, y, x] < 1e-4
