"""TinyViT: names and shapes of the published files, and the values of the published code."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.segment.sam.checkpoint import without_classifier
from medlsam.segment.sam.model import build_network
from medlsam.segment.sam.tiny_vit import TinyVit
from tests.support.paths import DATA

CLASSIFIER = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}


def published(size: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the image encoder in mobile_sam.pt (1024) and lite_medsam.pth (256), in their order.

    The list is that of MobileSAM's own source (mobile_sam/modeling/tiny_vit_sam.py and build_sam.py). The source of
    LiteMedSAM (tiny_vit_sam.py) differs from it in the stem's two kernels and has no classifier.
    """
    rows = (DATA / "tiny_vit_state.txt").read_text().splitlines()
    shapes = {name: tuple(map(int, shape)) for name, *shape in (row.split() for row in rows)}
    assert {name: shapes[name] for name in CLASSIFIER} == CLASSIFIER
    if size == 256:
        shapes = {name: shape for name, shape in shapes.items() if name not in CLASSIFIER}
        shapes["image_encoder.patch_embed.seq.0.c.weight"] = (32, 3, 1, 1)
        shapes["image_encoder.patch_embed.seq.2.c.weight"] = (64, 32, 1, 1)
    return shapes


@pytest.mark.parametrize(("size", "parameters"), [(1024, 6_065_532), (256, 5_726_740)])
def test_names_and_shapes_are_those_of_the_published_files(size: int, parameters: int) -> None:
    wanted = published(size)
    counted = [np.prod(s, dtype=int) for name, s in wanted.items() if "running" not in name and s]
    assert sum(counted) == parameters  # measured on the publishers' own classes
    network = build_network("tiny_vit_1024" if size == 1024 else "tiny_vit_256")
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    encoder = {name: shape for name, shape in found.items() if name.startswith("image_encoder.")}
    kept = [name for name in wanted if name not in CLASSIFIER]
    assert encoder == {name: wanted[name] for name in kept}
    assert list(encoder) == kept
    assert sum(name.startswith("prompt_encoder.") for name in found) == 17
    assert sum(name.startswith("mask_decoder.") for name in found) == 120
    assert len(found) == len(kept) + 137


def test_the_classifier_goes_and_nothing_else() -> None:
    state = {name: torch.zeros(()) for name in published(1024)}
    assert state.keys() - without_classifier(state).keys() == CLASSIFIER.keys()


def value(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A tensor that depends on its name and shape alone, of a size that keeps activations near one."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return np.abs(drawn) + 0.5
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if len(shape) > 1 and "biases" not in name:
        return drawn / np.sqrt(np.prod(shape[1:]))
    return drawn / 4 + (1 if name.endswith("weight") else 0)


def filled(size: int) -> TinyVit:
    network = TinyVit(size).eval().requires_grad_(False)
    state = network.state_dict()
    network.load_state_dict(
        {k: torch.as_tensor(value(k, tuple(v.shape)), dtype=v.dtype) for k, v in state.items()}
    )
    return network


def picture(side: int) -> Tensor:
    drawn = np.random.default_rng(5).standard_normal((1, 3, side, side))
    return torch.as_tensor(drawn, dtype=torch.float32)


# The last column of every 64th channel, every second row, and the mean magnitude: computed once by the publishers'
# classes on small pictures, whose windows are padded in every stage.
MOBILE_SAM = (
    [
        2.31366,
        1.29532,
        1.49453,
        -1.10599,
        -1.21984,
        -0.69359,
        -0.97284,
        -0.27345,
        -0.2663,
        1.21616,
        1.25135,
        0.85986,
    ],
    0.81608,
)
LITE_MEDSAM = (
    [
        *(2.45101, 1.81461, 1.77538, 0.60608, 0.91129, -0.69983, -1.0871, -1.12105, -0.50871, -0.34048),
        *(-0.68868, 0.33497, 0.52092, 0.66536, 0.69726, 1.03419, 0.88396, 1.06772, 0.56428, 0.51659),
    ],
    0.81236,
)


@pytest.mark.parametrize(("size", "side", "expected"), [(1024, 96, MOBILE_SAM), (256, 40, LITE_MEDSAM)])
def test_values_are_those_of_the_published_code(
    size: int, side: int, expected: tuple[list[float], float]
) -> None:
    found = filled(size)(picture(side))
    np.testing.assert_allclose(found[0, ::64, ::2, -1].flatten(), expected[0], atol=5e-5)
    assert float(found.abs().mean()) == pytest.approx(expected[1], abs=2e-5)


@pytest.mark.parametrize(("heads", "window"), [(4, 7), (5, 14)])
def test_window_attention_is_softmax_with_the_bias_of_each_distance(heads: int, window: int) -> None:
    """Written out for two windows, cell by cell."""
    stage = 1 if window == 7 else 2
    attention = filled(1024).layers[stage].blocks[0].attn
    width = attention.norm.weight.shape[0]
    x = torch.randn(1, width, window, 2 * window, generator=torch.Generator().manual_seed(0))
    found = attention(x)
    per_head = width // heads
    for column in range(2):
        cells = x[0, :, :, column * window : (column + 1) * window].flatten(1).T
        projected = attention.qkv(attention.norm(cells)).view(-1, heads, 3, per_head)
        y, x_ = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x_ = y.flatten(), x_.flatten()
        row = (y[:, None] - y).abs() * window + (x_[:, None] - x_).abs()
        mixed = []
        for head in range(heads):
            query, key, content = projected[:, head].unbind(1)
            scores = query @ key.T / per_head**0.5 + attention.attention_biases[head][row]
            mixed.append(scores.softmax(1) @ content)
        expected = attention.proj(torch.cat(mixed, 1)).T.view(width, window, window)
        torch.testing.assert_close(
            found[0, :, :, column * window : (column + 1) * window], expected, atol=1e-5, rtol=1e-4
        )


def test_reduced_precision_stays_near() -> None:
    network, x = filled(1024), picture(96)
    exact = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = network(x).float()
    assert 1e-4 < float((reduced - exact).norm() / exact.norm()) < 0.05


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="1024 and 256 pixels, not 512"):
        TinyVit(512)
