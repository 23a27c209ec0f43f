"""The network of the paper (MedLAM), with the names of the released checkpoint, so that its weights can be used.

A patch network: it sees cubes of 64 voxels at 3 mm. Fully connected layers give one latent position for the cube's
centre (RDR, section 2.1 of the paper), a decoder gives features at three scales (MSS). Its instance normalisation takes
its statistics from the cube, so the same place has other features in another cube and the network cannot be run over
a whole scan at once; ``patches`` shows it one cube at a time.

Axes are those of the original: a cube is (z, y, x) on a grid whose axes point to superior, anterior and left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor, nn

from medlsam.errors import WeightsError
from medlsam.weights.checkpoint import check_fit, few, read_state_dict

#: Voxels to a side of the cubes.
PATCH = 64
SPACING_MM = 3.0
#: r of the paper's equation 2, mm along (z, y, x).
RANGE_MM = (1500.0, 600.0, 600.0)
#: Input voxels per cell of the three feature scales, coarse to fine.
STRIDES = (4, 2, 1)
#: Width that all others are multiples of, in the released checkpoint.
BASE = 24

_HU_KNOTS = (-1000.0, -200.0, 200.0, 1500.0)
_HU_VALUES = (0.0, 0.2, 0.8, 1.0)
_WANTED = (
    "wanted: the paper's localizer, MedLAM (medlam.pth), or an encoder that medlsam wrote (.safetensors)"
)
# What other checkpoints' keys begin with.
_OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("image_encoder.", "mask_decoder.", "prompt_encoder.", "vision_encoder."),
        "a checkpoint of the SAM family, which segments and does not locate: give it as --segmenter",
    ),
    (
        ("encoder.",),
        "weights of another network, perhaps a training checkpoint of medlsam (give the .safetensors file "
        "that was made from it)",
    ),
)


def normalise(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """HU to 0..1 as the network was trained: piecewise linear, clamped outside; air is 0."""
    mapped: NDArray[np.float32] = np.interp(hu, _HU_KNOTS, _HU_VALUES).astype(np.float32)
    return mapped


class _Convolution(nn.Module):
    """3 x 3 x 3 convolution, instance norm without weights, ReLU; the names are the checkpoint's."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        convolution = nn.Sequential(OrderedDict(Conv=nn.Conv3d(inputs, outputs, 3, padding=1)))
        self.model = nn.Sequential(
            OrderedDict(
                conv1_1=convolution, norm1_1=nn.InstanceNorm3d(outputs), relu1_1=nn.ReLU(inplace=True)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.model(x)
        return convolved


class PublishedNetwork(nn.Module):
    """Input (B, 1, 64, 64, 64): cubes at 3 mm, normalised HU.

    Args:
        base: width that all others are multiples of; 24 in the released checkpoint.
    """

    def __init__(self, base: int = BASE) -> None:
        super().__init__()
        self.base = base
        b = base
        self.conv0_1, self.conv0_2 = _Convolution(1, 2 * b), _Convolution(2 * b, 2 * b)
        self.conv1_1, self.conv1_2 = _Convolution(2 * b, 2 * b), _Convolution(2 * b, 2 * b)
        self.conv2_1, self.conv2_2 = _Convolution(2 * b, 2 * b), _Convolution(2 * b, 4 * b)
        self.conv3_1, self.conv3_2 = _Convolution(4 * b, 4 * b), _Convolution(4 * b, 8 * b)
        self.conv4_1, self.conv4_2 = _Convolution(8 * b, 8 * b), _Convolution(8 * b, 16 * b)
        # The decoder: what comes up from below, beside what was there on the way down.
        self.conv5_1, self.conv5_2 = _Convolution((16 + 8) * b, 8 * b), _Convolution(8 * b, 8 * b)
        self.conv6_1, self.conv6_2 = _Convolution((8 + 4) * b, 4 * b), _Convolution(4 * b, 4 * b)
        self.conv7_1, self.conv7_2 = _Convolution((4 + 2) * b, 4 * b), _Convolution(4 * b, 4 * b)
        self.conv8_1, self.conv8_2 = _Convolution((4 + 2) * b, 4 * b), _Convolution(4 * b, 4 * b)
        # In the checkpoint, and not used to locate anything.
        self.classification = nn.Sequential(nn.Conv3d(4 * b, 3, 1))
        self.fc1 = nn.Linear(16 * b * (PATCH // 16) ** 3, 8 * b)
        self.fc2 = nn.Linear(8 * b, 4 * b)
        self.fc3 = nn.Linear(4 * b, 3)

    @property
    def channels(self) -> int:
        """Length of a feature vector, the same at all three scales."""
        return 4 * self.base

    def positions(self, patches: Tensor) -> Tensor:
        """(B, 3) latent positions (z, y, x) of the cubes' centres. The decoder, nine tenths of the work, does not run.

        Raises:
            ValueError: cubes of another size.
        """
        return self._position(self._down(patches)[-1])

    def features(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit feature vectors (B, C, n, n, n) at strides 4, 2 and 1: n is 16, 32 and 64.

        Raises:
            ValueError: cubes of another size.
        """
        return self._up(self._down(patches))

    def forward(self, patches: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """``positions`` and ``features`` of the same cubes, from one pass."""
        levels = self._down(patches)
        return self._position(levels[-1]), self._up(levels)

    def _down(self, patches: Tensor) -> list[Tensor]:
        """The levels at strides 1, 2, 4, 8 and 16."""
        if tuple(patches.shape[1:]) != (1, PATCH, PATCH, PATCH):
            raise ValueError(f"patches must be (B, 1, 64, 64, 64), got {tuple(patches.shape)}")
        levels = [self.conv0_2(self.conv0_1(patches))]
        for first, second in (
            (self.conv1_1, self.conv1_2),
            (self.conv2_1, self.conv2_2),
            (self.conv3_1, self.conv3_2),
            (self.conv4_1, self.conv4_2),
        ):
            levels.append(second(first(F.max_pool3d(levels[-1], 2))))
        return levels

    def _position(self, deepest: Tensor) -> Tensor:
        # No activation between the layers, as in the original.
        latent: Tensor = self.fc3(self.fc2(self.fc1(deepest.flatten(1))))
        return latent

    def _up(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        def joined(below: Tensor, beside: Tensor) -> Tensor:
            return torch.cat([F.interpolate(below, scale_factor=2, mode="trilinear"), beside], dim=1)

        eight = self.conv5_2(self.conv5_1(joined(levels[4], levels[3])))
        four = self.conv6_2(self.conv6_1(joined(eight, levels[2])))
        two = self.conv7_2(self.conv7_1(joined(four, levels[1])))
        one = self.conv8_2(self.conv8_1(joined(two, levels[0])))
        return F.normalize(four, dim=1), F.normalize(two, dim=1), F.normalize(one, dim=1)


def load_published(path: str | Path) -> PublishedNetwork:
    """Read the released checkpoint, or one of the original's training script, with or without ``module.`` in its names.

    Args:
        path: ``medlam.pth``, a training ``.tar`` with the weights under ``state_dict``, or the same as safetensors.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        WeightsError: no such file, damaged, or weights of another kind; the message says which.
    """
    state = read_state_dict(path, _WANTED)
    _check_kind(state, path)
    width = state["fc3.weight"].shape[-1]
    with torch.device("meta"):
        network = PublishedNetwork(max(width // 4, 1))
    check_fit(state, network.state_dict(), path, f"MedLAM of width {network.base}")
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _check_kind(state: Mapping[str, Tensor], path: str | Path) -> None:
    if "conv0_1.model.conv1_1.Conv.weight" in state and "fc3.weight" in state:
        return
    for prefixes, what in _OTHERS:
        if any(key.startswith(prefixes) for key in state):
            raise WeightsError(f"{path} holds {what}; {_WANTED}")
    raise WeightsError(f"{path} holds weights of an unknown kind (keys {few(state)}); {_WANTED}")
