"""A plain residual 3D U-Net, its loss where a template misses structures, and a sliding window."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

#: Label of voxels that say nothing: those outside of the scan.
IGNORED = 255


class _Residual(nn.Module):
    """Two convolutions with instance normalisation, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False), nn.InstanceNorm3d(outputs, affine=True),
        )  # fmt: skip
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.body(x) + self.shortcut(x), 0.01)


class UNet(nn.Module):
    """Grey levels to logits; sizes must be multiples of 2 to the number of widths less one.

    Args:
        classes: with background.
        widths: channels at strides 1, 2, 4, ...
    """

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            [_Residual(1, widths[0]), *(_Residual(fine, coarse, 2) for fine, coarse in pairs)]
        )
        self.up = nn.ModuleList([nn.ConvTranspose3d(coarse, fine, 2, 2) for fine, coarse in reversed(pairs)])
        self.mix = nn.ModuleList([_Residual(2 * fine, fine) for fine, _ in reversed(pairs)])
        self.head = nn.Conv3d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Z, Y, X) grey levels of about -1 to 1 to (B, classes, Z, Y, X) logits."""
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for up, mix, skip in zip(self.up, self.mix, reversed(skips[:-1]), strict=True):
            x = mix(torch.cat([up(x), skip], dim=1))
        return torch.as_tensor(self.head(x))


def dice_and_cross_entropy(logits: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
    """1 - soft Dice, and cross-entropy, of what the templates label.

    A structure without a label in a template may still be in its scan: its probability is added to the background's
    there (a marginal loss), and its Dice does not count. A structure that is labelled and not in the patch counts in
    the cross-entropy alone.

    Args:
        logits: (B, C, Z, Y, X), class 0 is background.
        labels: (B, Z, Y, X) classes, or ``IGNORED``.
        labelled: (B, C) boolean: the classes that the sample's template labels; background is always one.

    Returns:
        Scalar.
    """
    log = logits.float().log_softmax(dim=1)
    hidden = ~labelled
    hidden[:, 0] = True  # background is what the unlabelled classes are added to
    rest = log.masked_fill(~hidden[:, :, None, None, None], -torch.inf).logsumexp(dim=1, keepdim=True)
    log = torch.cat([rest, log[:, 1:]], dim=1)
    valid = labels != IGNORED
    target = torch.where(valid, labels, 0)
    cross = -(log.gather(1, target[:, None])[:, 0] * valid).sum() / valid.sum().clamp(min=1)
    truth = F.one_hot(target, log.shape[1]).movedim(-1, 1)[:, 1:] * valid[:, None]
    found = log[:, 1:].exp() * valid[:, None]
    size = truth.sum(dim=(2, 3, 4))
    dice = (2 * (found * truth).sum(dim=(2, 3, 4)) + 1) / (found.sum(dim=(2, 3, 4)) + size + 1)
    counts = (size > 0) & labelled[:, 1:]
    return cross + ((1 - dice) * counts).sum() / counts.sum().clamp(min=1)


def starts(size: int, window: int) -> list[int]:
    """Where windows begin along an axis: half a window apart at most, the last one at the end."""
    if size <= window:
        return [0]
    count = int(np.ceil((size - window) / (window / 2))) + 1
    return [round(place) for place in np.linspace(0, size - window, count)]


def slide(network: nn.Module, grey: Tensor, window: tuple[int, int, int], classes: int, air: float) -> Tensor:
    """Class probabilities of a whole scan from overlapping windows, whose middles weigh more than their edges.

    Args:
        network: in evaluation mode.
        grey: (Z, Y, X).
        window: (Z, Y, X) voxels.
        classes: with background.
        air: what scans smaller than the window are padded with.

    Returns:
        (classes, Z, Y, X).
    """
    short = [max(0, wanted - size) for wanted, size in zip(window, grey.shape, strict=True)]
    padded = F.pad(grey, (0, short[2], 0, short[1], 0, short[0]), value=air)
    z, y, x = (torch.linspace(-2, 2, size).square().mul(-0.5).exp() for size in window)
    weight = z[:, None, None] * y[:, None] * x
    total = torch.zeros(classes, *padded.shape)
    sums = torch.zeros(padded.shape)
    for corner in product(*(starts(size, wanted) for size, wanted in zip(padded.shape, window, strict=True))):
        place = tuple(slice(low, low + size) for low, size in zip(corner, window, strict=True))
        found = network(padded[place][None, None])[0].float().softmax(dim=0)
        total[(slice(None), *place)] += found * weight
        sums[place] += weight
    whole = tuple(slice(size) for size in grey.shape)
    return (total / sums)[(slice(None), *whole)]
