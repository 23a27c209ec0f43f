"""The sizes of the network, as nnU-Net's plans have them."""

from __future__ import annotations

from typing import Any

import pytest

from medlsam.errors import UsageError
from medlsam.lesion.inception.config import InceptionConfig, config_of_plans

#: As nnU-Net 2.8.1 writes it for the ResEnc-L planner.
RESIDUAL: dict[str, Any] = {
    "n_stages": 6,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * 5],
    "strides": [[1, 1, 1], [1, 2, 2], *[[2, 2, 2]] * 4],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "n_conv_per_stage_decoder": [1, 1, 1, 1, 1],
}
PLAIN = {key: value for key, value in RESIDUAL.items() if key != "n_blocks_per_stage"}
PLAIN |= {"n_conv_per_stage": [2] * 6, "n_conv_per_stage_decoder": [2] * 5}


def test_a_plan_of_residual_blocks_is_the_papers_network() -> None:
    config = config_of_plans(RESIDUAL, 1)
    assert (config.widths, config.blocks) == (InceptionConfig().widths, InceptionConfig().blocks)
    assert config.decoder_blocks == 1
    assert config.strides[1] == (1, 2, 2)
    assert config.kernels[0] == (1, 3, 3)
    assert config.norm == "batch"


def test_a_plan_of_plain_convolutions_has_one_block_for_two() -> None:
    config = config_of_plans(PLAIN, 2)
    assert config.in_channels == 2
    assert config.blocks == (1,) * 6
    assert config.decoder_blocks == 1


def test_a_plan_in_2d_is_refused() -> None:
    with pytest.raises(UsageError, match="InceptionUNet is 3D.*3d_fullres"):
        config_of_plans({**RESIDUAL, "conv_op": "torch.nn.modules.conv.Conv2d"}, 1)
    with pytest.raises(UsageError, match="architecture cannot be read.*strides"):
        config_of_plans({key: value for key, value in RESIDUAL.items() if key != "strides"}, 1)
