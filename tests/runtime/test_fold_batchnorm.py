"""Folded networks give the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medlsam.localize.network.encoder import Encoder
from medlsam.runtime.fold_batchnorm import folded
from medlsam.segment.sam_tiny.network import TinySam
from tests.support.data.tiny_data import SMALL


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics and scales as after a training: fresh ones would hide what is forgotten."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                assert tensor is not None
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d) for part in network.modules())


@torch.inference_mode()
def test_an_encoder_gives_the_same() -> None:
    torch.manual_seed(0)
    network = lived_in(Encoder())
    quick, scan = folded(network), torch.rand(1, 1, 32, 32, 32)
    assert normalisations(quick) < normalisations(network) / 3
    one, other = network(scan), quick(scan)
    torch.testing.assert_close(other.positions, one.positions, atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(other.features, one.features, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_segmenter_gives_the_same_and_the_original_stays() -> None:
    torch.manual_seed(0)
    network = TinySam(SMALL)
    lived_in(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quick = folded(network)
    crops = torch.randn(2, SMALL.channels, SMALL.size, SMALL.size)
    boxes, errors = torch.tensor([[10.0, 12, 40, 50]]).repeat(2, 1), torch.tensor([0.0, 4.0])
    assert normalisations(quick) == 0
    torch.testing.assert_close(
        quick(crops, boxes, errors), network(crops, boxes, errors), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(network.state_dict(), before, atol=0, rtol=0)


def test_training_mode_is_refused() -> None:
    with pytest.raises(AssertionError, match="batch"):
        folded(Encoder())
