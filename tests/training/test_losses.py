"""Losses of masks, by hand and against finite differences."""

from __future__ import annotations

import pytest
import torch

from medlsam.training.losses import hard_dice, mask_losses, soft_dice_loss


def test_dice_by_hand() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, :2] = 1
    logits = torch.where(target > 0, 50.0, -50.0)
    logits[0, 0] = -50
    assert hard_dice(logits, target).tolist() == pytest.approx([2 * 4 / 12, 1.0])
    assert soft_dice_loss(logits, target).tolist() == pytest.approx([1 - 9 / 13, 0.0], abs=1e-5)


def test_soft_dice_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    target = (torch.rand(2, 5, 5, generator=generator) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, target), (logits,))


def test_mask_losses_by_hand() -> None:
    """Half of a row of four is found: Dice (2 + 1) / (1 + 2 + 1), IoU 1/2, in whatever precision they come."""
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    logits = torch.tensor([[[50.0, -50.0, -50.0, -50.0]]], dtype=torch.bfloat16)
    parts = mask_losses(logits, torch.tensor([0.75], dtype=torch.bfloat16), target)
    assert parts["dice"].item() == pytest.approx(1 - 3 / 4)
    assert parts["cross_entropy"].item() == pytest.approx(50 / 4)
    assert parts["iou_error"].item() == pytest.approx(0.25**2)
    assert parts["loss"].item() == pytest.approx(0.25 + 12.5 + 0.1 * 0.0625)
    assert parts["loss"].dtype == torch.float32
