"""InceptionUNet: its modules against the paper's text, the ablation's sizes, and what nnU-Net needs of it."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from medlsam.errors import GeometryError, UsageError
from medlsam.lesion.inception.config import VARIANTS, InceptionConfig
from medlsam.lesion.inception.network import (
    InceptionDownsampling,
    InceptionUNet,
    MiniInception,
    parameter_count,
)

SMALL = InceptionConfig(widths=(4, 6, 8), blocks=(1, 1, 2))


def kinds(module: nn.Module | None) -> list[str]:
    """The layers of a branch in order, convolutions with kernel and stride."""
    assert isinstance(module, nn.Sequential)
    return [
        f"conv {layer.kernel_size[0]} /{layer.stride[0]}"
        if isinstance(layer, nn.Conv3d)
        else type(layer).__name__
        for layer in module
    ]


def test_mini_inception_is_that_of_the_text() -> None:
    block = MiniInception(4, 4, (3, 3, 3), SMALL)
    assert kinds(block.left) == ["conv 3 /1", "BatchNorm3d", "ReLU", "conv 3 /1", "BatchNorm3d"]
    assert kinds(block.right) == ["conv 1 /1", "BatchNorm3d", "conv 1 /1", "BatchNorm3d"]
    assert isinstance(block.residual, nn.Identity)
    features = torch.randn(2, 4, 4, 6, 8)
    assert block.right is not None
    torch.testing.assert_close(
        block.eval()(features), torch.relu(block.left(features) + block.right(features) + features)
    )


def test_inception_downsampling_is_that_of_the_text() -> None:
    block = InceptionDownsampling(4, 6, (3, 3, 3), (2, 2, 2), SMALL)
    assert kinds(block.left) == ["conv 3 /2", "BatchNorm3d", "ReLU", "conv 3 /1", "BatchNorm3d"]
    assert kinds(block.right) == ["AvgPool3d", "conv 1 /1", "BatchNorm3d"]
    features = torch.randn(2, 4, 4, 6, 8)
    assert block.left is not None
    torch.testing.assert_close(
        block.eval()(features), torch.relu(block.left(features) + block.right(features))
    )
    assert block(features).shape == (2, 6, 2, 3, 4)


@pytest.mark.parametrize(
    ("variant", "left", "right", "residual"), [(name, *parts) for name, parts in VARIANTS.items()]
)
def test_a_variant_lacks_what_the_table_says(variant: str, left: bool, right: bool, residual: bool) -> None:
    network = InceptionUNet(InceptionConfig(widths=(4, 6), blocks=(1, 1), variant=variant), 3)
    minis = [module for module in network.modules() if isinstance(module, MiniInception)]
    (down,) = [module for module in network.modules() if isinstance(module, InceptionDownsampling)]
    assert (down.left is not None) == left
    assert {block.right is not None for block in minis} == {right}
    assert {block.residual is not None for block in minis} == {residual}
    assert len(minis) == 3


def test_parameters_of_the_variants_are_those_that_the_docstring_states() -> None:
    with torch.device("meta"):
        counted = {
            variant: parameter_count(InceptionUNet(InceptionConfig(variant=variant), 8))
            for variant in VARIANTS
        }
    stated = {"I": 93_566_824, "II": 97_359_016, "III": 107_941_544, "IV": 110_972_776, "V": 111_353_256}
    assert counted == stated
    from medlsam.lesion.inception import network

    assert all(f" {count / 1e6:.1f}" in str(network.__doc__) for count in stated.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_of_the_stages_are_those_that_the_docstring_states(variant: str) -> None:
    config = InceptionConfig(variant=variant)
    assert config.divisor == (32, 32, 32)
    with torch.device("meta"):
        network = InceptionUNet(config, 8, deep_supervision=True)
        features = network.encoder(torch.empty(2, 1, 64, 64, 64))
        logits = network(torch.empty(2, 1, 64, 64, 64))
    assert [f.shape[1] for f in features] == [32, 64, 128, 256, 320, 320]
    assert [f.shape[2] for f in features] == [64, 32, 16, 8, 4, 2]
    assert [tuple(f.shape[1:]) for f in logits] == [(8, n, n, n) for n in (64, 32, 16, 8, 4)]


def test_strides_and_kernels_may_differ_along_z() -> None:
    config = InceptionConfig(
        widths=(4, 6, 8),
        blocks=(1, 0, 1),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        kernels=((1, 3, 3), *[(3,) * 3] * 2),
    )
    assert config.divisor == (2, 4, 4)
    assert InceptionUNet(config, 3)(torch.zeros(1, 1, 6, 8, 12)).shape == (1, 3, 6, 8, 12)
    assert InceptionConfig.from_dict(asdict(config)) == config


def test_every_weight_of_every_variant_learns() -> None:
    for variant in VARIANTS:
        torch.manual_seed(0)
        network = InceptionUNet(InceptionConfig(widths=(4, 6), blocks=(1, 1), variant=variant), 2, True)
        outputs = network(torch.randn(2, 1, 8, 8, 8))
        sum(output.square().mean() for output in outputs).backward()
        assert [
            n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
        ] == []


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(GeometryError, match=r"\(6, 8, 8\).*\(4, 4, 4\)"):
        InceptionUNet(SMALL, 2)(torch.zeros(1, 1, 6, 8, 8))
    with pytest.raises(UsageError, match="variant is one of I, II"):
        InceptionConfig(variant="VI")
    with pytest.raises(UsageError, match="strides: 2 given, there are 3 stages"):
        InceptionConfig(widths=(4, 6, 8), blocks=(1, 1, 1), strides=((1, 1, 1), (2, 2, 2)))
