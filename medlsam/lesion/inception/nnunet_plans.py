"""nnU-Net's plan of a network as the sizes of ``InceptionUNet``. Nothing here needs nnU-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medlsam.errors import UsageError
from medlsam.lesion.inception.network import InceptionConfig, Triple


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
        strides, kernels = (_triples(architecture[key]) for key in ("strides", "kernel_sizes"))
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


def _triples(rows: Any) -> tuple[Triple, ...]:
    made = []
    for row in rows:
        z, y, x = (int(n) for n in row)
        made.append((z, y, x))
    return tuple(made)
