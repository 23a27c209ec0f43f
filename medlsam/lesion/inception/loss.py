"""Dice and cross-entropy over the classes of lesions, as nnU-Net adds them, at one resolution or several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMOOTH = 1e-5


def dice_and_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute cross-entropy minus the mean soft Dice of the lesions' classes, pooled over the batch.

    Args:
        logits: (B, classes, Z, Y, X).
        labels: (B, Z, Y, X) int64; 0 is no lesion and has no Dice of its own.

    Returns:
        Scalar; -1 at best. Classes that the batch lacks are left out of the mean, so that few lesions in a batch do not
        reward an empty answer.
    """
    logits = logits.float()
    probability = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probability)
    axes = (0, 2, 3, 4)
    overlap, size = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    there = truth.sum(axes) > 0
    mean = dice[there].mean() if bool(there.any()) else dice.sum() * 0
    return functional.cross_entropy(logits, labels) - mean


def supervised(outputs: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
    """Compute the loss of a network's answer at every resolution: weights 1, 1/2, 1/4, ..., summing to 1.

    Args:
        outputs: logits, or with deep supervision those of each stage, the finest first.
        labels: (B, Z, Y, X) at the finest; coarser ones take the nearest voxel.
    """
    levels = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    total, weights = torch.zeros((), device=labels.device), 0.0
    for number, logits in enumerate(levels):
        if logits.shape[2:] != labels.shape[1:]:
            small = functional.interpolate(
                labels[:, None].float(), size=logits.shape[2:], mode="nearest-exact"
            )
            target = small[:, 0].long()
        else:
            target = labels
        total = total + 0.5**number * dice_and_cross_entropy(logits, target)
        weights += 0.5**number
    return total / weights


def class_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """Count voxels for Dice by class.

    Args:
        logits: (B, classes, Z, Y, X).
        labels: (B, Z, Y, X).

    Returns:
        (classes - 1, 2): twice the overlap, and the sum of both sizes.
    """
    found = logits.argmax(1)
    rows = []
    for value in range(1, logits.shape[1]):
        one, other = found == value, labels == value
        rows.append(torch.stack(((one & other).sum() * 2, one.sum() + other.sum())))
    return torch.stack(rows).double()
