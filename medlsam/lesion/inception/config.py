"""The sizes of ``InceptionUNet``: stages, widths, kernels, variant; also as nnU-Net's plans have them.

Nothing here needs torch or nnU-Net.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from medlsam.errors import UsageError

Norm = Literal["batch", "instance"]
Triple = tuple[int, int, int]

#: Variants of Table 3: left branch of Inception Downsampling, right branch of Mini Inception, its residual connection.
VARIANTS: dict[str, tuple[bool, bool, bool]] = {
    "I": (False, False, False),
    "II": (False, True, True),
    "III": (True, False, True),
    "IV": (True, True, False),
    "V": (True, True, True),
}


@dataclass(frozen=True)
class InceptionConfig:
    """Sizes of the network.

    Attributes:
        in_channels: of the image.
        widths: channels of each stage, the finest first.
        blocks: Mini Inceptions of each stage of the encoder (the paper's N; their number is its M).
        decoder_blocks: Mini Inceptions of each stage of the decoder.
        strides: (z, y, x) by which each stage is coarser than the one before it; empty for 1 and then 2 everywhere.
        kernels: (z, y, x) of the large convolutions of each stage; empty for 3 everywhere.
        variant: of the ablation, ``I`` to ``V``; ``V`` is the whole network.
        norm: ``batch`` as in the text, or ``instance`` for batches of one or two.

    Raises:
        UsageError: lists of different lengths, an unknown variant or normalisation.
    """

    in_channels: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    blocks: tuple[int, ...] = (1, 2, 3, 5, 5, 5)
    decoder_blocks: int = 1
    strides: tuple[Triple, ...] = ()
    kernels: tuple[Triple, ...] = ()
    variant: str = "V"
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        stages = len(self.widths)
        if stages < 2 or len(self.blocks) != stages or min(self.widths) < 1 or min(self.blocks) < 0:
            raise UsageError(
                f"widths {self.widths} and blocks {self.blocks}: give one of each for every stage, two stages or more"
            )
        for name, values in (("strides", self.strides), ("kernels", self.kernels)):
            if values and len(values) != stages:
                raise UsageError(f"{name}: {len(values)} given, there are {stages} stages (widths)")
        if self.strides and tuple(self.strides[0]) != (1, 1, 1):
            raise UsageError(
                f"strides begin with 1, 1, 1 (the first stage is not coarser), got {self.strides[0]}"
            )
        if self.variant not in VARIANTS:
            raise UsageError(f"variant is one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.norm not in get_args(Norm):
            raise UsageError(f"norm is one of {', '.join(get_args(Norm))}, got {self.norm!r}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InceptionConfig:
        """Read what ``dataclasses.asdict`` made of one, also after JSON."""
        read: dict[str, Any] = dict(data)
        for key in ("widths", "blocks"):
            read[key] = tuple(int(n) for n in data[key])
        for key in ("strides", "kernels"):
            read[key] = tuple(_triple(row) for row in data[key])
        return cls(**read)

    @property
    def stage_strides(self) -> tuple[Triple, ...]:
        """The strides with their default."""
        return tuple(self.strides) or ((1, 1, 1), *[(2, 2, 2)] * (len(self.widths) - 1))

    @property
    def stage_kernels(self) -> tuple[Triple, ...]:
        """The kernels with their default."""
        return tuple(self.kernels) or ((3, 3, 3),) * len(self.widths)

    @property
    def divisor(self) -> Triple:
        """What sizes of patches are divisible by, (z, y, x)."""
        z, y, x = (math.prod(stride[axis] for stride in self.stage_strides) for axis in range(3))
        return z, y, x


def config_of_plans(architecture: Mapping[str, Any], in_channels: int) -> InceptionConfig:
    """Take stages, widths, kernels and strides from a plan.

    A residual encoder's blocks (``nnUNetResEncUNetLPlans`` and its like, as the paper used) are Mini Inceptions, but
    for the first of each further stage, which is the Inception Downsampling. Two convolutions of a plain encoder make
    one Mini Inception. Normalisation and activation are the paper's, not the plan's.

    Args:
        architecture: ``arch_kwargs`` of a 3D configuration.
        in_channels: of the images.

    Raises:
        UsageError: a 2D configuration, or a plan without what is needed.
    """
    conv = str(architecture.get("conv_op", ""))
    if not conv.rstrip("'>").endswith("Conv3d"):
        raise UsageError(
            f"InceptionUNet is 3D; this plan has {conv or 'no conv_op'}: train 3d_fullres or 3d_lowres"
        )
    try:
        widths = tuple(int(n) for n in architecture["features_per_stage"])
        strides, kernels = (
            tuple(_triple(row) for row in architecture[key]) for key in ("strides", "kernel_sizes")
        )
        if "n_blocks_per_stage" in architecture:
            first, *more = (int(n) for n in architecture["n_blocks_per_stage"])
            blocks, per_block = (first, *[n - 1 for n in more]), 1
        else:
            blocks, per_block = tuple(max(1, int(n) // 2) for n in architecture["n_conv_per_stage"]), 2
        decoder = max(1, max(int(n) for n in architecture["n_conv_per_stage_decoder"]) // per_block)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"this plan's architecture cannot be read ({error!r}); plan anew with nnU-Net 2.4 or later"
        ) from error
    return InceptionConfig(in_channels, widths, blocks, decoder, strides, kernels)


def _triple(row: Sequence[int]) -> Triple:
    z, y, x = (int(n) for n in row)
    return z, y, x
