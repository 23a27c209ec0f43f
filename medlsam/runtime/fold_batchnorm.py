"""Fold batch normalisation into the preceding convolutions, for inference, where it is one scale and shift."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


def folded(network: Module) -> Module:
    """Copy a network, with each batch normalisation folded into the convolution before it.

    The copy computes the same numbers, to rounding, in fewer passes over memory.

    Args:
        network: in evaluation mode. Only a normalisation right after a convolution in a ``Sequential`` is folded; an
            identity takes its place.
    """
    assert not network.training, "statistics of a batch cannot be folded"
    quick = copy.deepcopy(network)
    for part in quick.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for place, (one, following) in enumerate(pairwise(list(part))):
            if isinstance(one, _CONVOLUTIONS) and isinstance(following, _NORMALISATIONS):
                part[place], part[place + 1] = fuse_conv_bn_eval(one, following), nn.Identity()
    return quick.requires_grad_(False)
