"""The loss of lesions, checked by hand and by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from medlsam.lesion.inception.loss import class_counts, dice_and_cross_entropy, supervised


def test_by_hand() -> None:
    """Two voxels, two classes, all probabilities a half: cross-entropy ln 2, Dice of class 1 is 2 * 0.5 / (1 + 1)."""
    labels = torch.tensor([[[[0, 1]]]])
    loss = dice_and_cross_entropy(torch.zeros(1, 2, 1, 1, 2), labels)
    assert loss.item() == pytest.approx(math.log(2) - 0.5, abs=1e-4)


def test_right_and_wrong_answers() -> None:
    labels = torch.randint(0, 3, (2, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    right = 30.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert dice_and_cross_entropy(right, labels).item() == pytest.approx(-1, abs=1e-4)
    assert dice_and_cross_entropy(right.roll(1, 1), labels).item() > 10


def test_a_batch_without_lesions_has_no_dice() -> None:
    logits = torch.randn(1, 3, 2, 2, 2)
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(dice_and_cross_entropy(logits, labels), expected)


def test_a_class_that_the_batch_lacks_is_left_out_of_the_mean() -> None:
    """As by hand, with a third class that is nowhere: Dice of class 1 is 2/3 / (2/3 + 1), and that is the mean."""
    loss = dice_and_cross_entropy(torch.zeros(1, 3, 1, 1, 2), torch.tensor([[[[0, 1]]]]))
    assert loss.item() == pytest.approx(math.log(3) - 0.4, abs=1e-4)


def test_gradient() -> None:
    labels = torch.randint(0, 3, (2, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    logits = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return dice_and_cross_entropy(values, labels)

    # The loss computes in float32, so differences are coarse.
    assert torch.autograd.gradcheck(loss, logits, eps=1e-2, atol=1e-3, rtol=1e-2)


def test_coarser_levels_count_half_each() -> None:
    labels = torch.randint(0, 2, (1, 4, 4, 4), generator=torch.Generator().manual_seed(2))
    fine, coarse = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 2, 2, 2, 2)
    small = torch.nn.functional.interpolate(labels[:, None].float(), size=(2, 2, 2), mode="nearest-exact")[
        :, 0
    ].long()
    expected = (2 * dice_and_cross_entropy(fine, labels) + dice_and_cross_entropy(coarse, small)) / 3
    torch.testing.assert_close(supervised([fine, coarse], labels), expected)


def test_counts_make_dice() -> None:
    labels = torch.tensor([[[[0, 1, 1, 2]]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[[1, 1, 0, 2]]]]), 4).movedim(-1, 1).float()
    assert class_counts(logits, labels).tolist() == [[2.0, 4.0], [2.0, 2.0], [0.0, 0.0]]
