"""The losses against values worked out by hand, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from medlsam.localize.network.encoder import predicted_offset
from medlsam.localize.pretrain.losses import (
    mss_loss,
    rdr_loss,
    vote_error_loss,
    window_loss,
)

RANGE = torch.tensor([600.0, 600.0, 1500.0])


def test_predicted_offset_is_equation_2() -> None:
    query, template = torch.tensor([0.0, 0.1, 0.0]), torch.tensor([0.5, 0.1, -2.0])
    expected = [600 * math.tanh(0.5), 0.0, 1500 * math.tanh(-2.0)]
    assert predicted_offset(query, template, RANGE).tolist() == pytest.approx(expected, rel=1e-6)


def test_rdr_loss_by_hand() -> None:
    # Two points 50 mm apart in x with equal latents: the predicted offset is 0, the two ordered pairs are each
    # off by 0.5 units in x (smooth L1: 0.125), the two pairs of a point with itself are right.
    positions = torch.zeros(1, 2, 3)
    places = torch.tensor([[[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]])
    assert rdr_loss(positions, places, RANGE).item() == pytest.approx(2 * 0.125 / 3 / 4)


def test_rdr_loss_is_zero_for_perfect_latents() -> None:
    # tanh is nearly linear this close to 0: latents proportional to places give offsets right to a micrometre.
    places = torch.rand(2, 5, 3, dtype=torch.float64)
    positions = places / RANGE.double()
    assert rdr_loss(positions, places, RANGE.double()).item() < 1e-10


def test_rdr_loss_ignores_invalid_points() -> None:
    positions, places = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    places[0, 2] = 1e6
    valid = torch.tensor([[True, True, False]])
    assert rdr_loss(positions, places, RANGE, valid).item() == 0
    assert rdr_loss(positions, places, RANGE).item() > 0


def test_mss_loss_by_hand() -> None:
    # One anchor, its own candidate with cosine 1, one far negative with cosine 0, temperature 1/2.
    anchors = torch.tensor([[[1.0, 0.0]]])
    candidates = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    places = torch.zeros(1, 1, 3)
    candidate_places = torch.tensor([[[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]])
    loss = mss_loss(anchors, candidates, places, candidate_places, temperature=0.5, radius_mm=8.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_mss_loss_leaves_near_candidates_out() -> None:
    anchors = torch.tensor([[[1.0, 0.0]]])
    candidates = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    candidate_places = torch.tensor([[[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]])
    places = torch.zeros(1, 1, 3)
    assert mss_loss(anchors, candidates, places, candidate_places, 0.1, radius_mm=8.0).item() == 0
    far = mss_loss(anchors, candidates, places, candidate_places, 0.1, radius_mm=4.0)
    assert far.item() == pytest.approx(math.log(2))


def test_mss_loss_ignores_padding_points() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(1, 3, 4, generator=generator), dim=-1)
    places = torch.tensor([[[0.0, 0, 0], [100.0, 0, 0], [200.0, 0, 0]]])
    valid = torch.tensor([[True, True, False]])
    padded = mss_loss(features, features, places, places, 0.1, 8.0, valid)
    plain = mss_loss(features[:, :2], features[:, :2], places[:, :2], places[:, :2], 0.1, 8.0)
    assert padded.item() == pytest.approx(plain.item(), rel=1e-6)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    places, others = draw(2, 4, 3) * 100, draw(2, 7, 3) * 100
    positions = (draw(2, 4, 3) * 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: rdr_loss(p, places, RANGE.double()), positions)
    anchors, candidates = draw(2, 4, 5).requires_grad_(), draw(2, 7, 5).requires_grad_()
    others[:, :4] = places
    assert torch.autograd.gradcheck(
        lambda a, c: mss_loss(a, c, places, others, 0.5, 8.0), (anchors, candidates)
    )


def _cells(size: int, channels: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(
        torch.randn(1, channels, size, size, size, generator=generator), dim=1
    )


def test_window_loss_is_small_for_the_right_cell_only() -> None:
    target = _cells(9)
    place = torch.tensor([[[4.0, 3.0, 5.0], [2.0, 6.0, 4.0]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    index = place.long()
    right = torch.stack([target[0, :, z, y, x] for x, y, z in index[0]])[None]
    wrong = torch.stack([target[0, :, z, y, x + 1] for x, y, z in index[0]])[None]
    chance = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(0))
    good = window_loss(right, target, place, valid, chance, 0.05, 2)
    bad = window_loss(wrong, target, place, valid, chance, 0.05, 2)
    assert good < 0.1
    assert bad > 3.0


def test_window_loss_ignores_invalid_points_and_survives_the_border() -> None:
    target = _cells(6)
    place = torch.tensor([[[-30.0, 0.0, 0.0], [5.0, 5.0, 5.0]]])
    anchors = torch.randn(1, 2, 16)
    loss = window_loss(anchors, target, place, torch.tensor([[True, False]]), torch.zeros(1, 2, 3), 0.05, 2)
    assert float(loss) == 0.0  # one place is outside the view, the other does not count


def test_vote_error_is_learnt_per_voter() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(1, 40, 3, generator=generator) * 100
    latents = places / RANGE
    latents[:, 20:] += torch.randn(1, 20, 3, generator=generator) * 0.2  # half of the cells know nothing
    width = torch.zeros(1, 40, requires_grad=True)
    optimizer = torch.optim.Adam([width], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        vote_error_loss(latents, width, places, RANGE, torch.ones(1, 40, dtype=torch.bool)).backward()
        optimizer.step()
    assert width[0, :20].mean() < width[0, 20:].mean() - 0.3


def test_vote_error_does_not_move_the_positions() -> None:
    latents = torch.rand(1, 5, 3, requires_grad=True)
    loss = vote_error_loss(
        latents,
        torch.zeros(1, 5, requires_grad=True),
        torch.rand(1, 5, 3),
        RANGE,
        torch.ones(1, 5, dtype=torch.bool),
    )
    loss.backward()
    assert latents.grad is None
