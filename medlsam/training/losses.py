"""Losses of masks, and the mean over what is valid in the batches of all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medlsam.training.distributed import process_count, total_over_processes

#: Weight of the expected IoU's error beside Dice and cross-entropy.
IOU_WEIGHT = 0.1


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - Dice of each mask's probabilities.

    Args:
        logits: (B, H, W).
        target: (B, H, W), 0 to 1.

    Returns:
        (B,); 0 where the target is empty: only cross-entropy sees such masks.
    """
    probability = logits.sigmoid().flatten(1)
    target = target.flatten(1)
    overlap = 2 * (probability * target).sum(1) + 1
    loss = 1 - overlap / (probability.sum(1) + target.sum(1) + 1)
    return torch.where(target.sum(1) >= 1, loss, torch.zeros_like(loss))


def hard_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the Dice of each thresholded mask, (B,) of (B, H, W) each; 1 where both are empty."""
    predicted, truth = (logits > 0).flatten(1), (target > 0.5).flatten(1)
    both = predicted.sum(1) + truth.sum(1)
    return torch.where(
        both > 0, 2 * (predicted & truth).sum(1) / both.clamp(min=1), torch.ones(len(logits)).to(both)
    )


def mask_losses(logits: Tensor, quality: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compute the loss of a promptable segmenter, as SAM and MedSAM are trained: the mask and its expected IoU.

    Args:
        logits: (B, H, W) of the masks.
        quality: (B,) IoU that the network expects of them.
        target: (B, H, W) masks, 0 to 1.

    Returns:
        Scalars: ``dice``, ``cross_entropy``, ``iou_error``, and their weighted sum ``loss``.
    """
    logits, quality = logits.float(), quality.float()
    dice = soft_dice_loss(logits, target).mean()
    cross = functional.binary_cross_entropy_with_logits(logits, target)
    predicted, truth = (logits > 0).flatten(1), (target > 0.5).flatten(1)
    iou = (predicted & truth).sum(1) / (predicted | truth).sum(1).clamp(min=1)
    error = functional.mse_loss(quality, iou)
    return {
        "loss": dice + cross + IOU_WEIGHT * error,
        "dice": dice,
        "cross_entropy": cross,
        "iou_error": error,
    }


def valid_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean of the valid values over the batches of all processes.

    Each process divides by the *mean* count of all of them. So the mean of the processes' gradients, which DDP takes,
    is the gradient of the mean over all valid values, as if one process had the whole batch.

    Args:
        values: any shape.
        valid: the same shape, boolean or 0 and 1.

    Returns:
        Scalar: this process's share; the mean over processes is the loss.
    """
    weights = valid.to(values.dtype)
    count = total_over_processes(weights.sum()).clamp(min=1) / process_count()
    return (values * weights).sum() / count
