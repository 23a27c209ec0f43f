"""Landmark errors between phantoms, by which pretraining is validated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.pretrain import validation
from medlsam.localize.pretrain.module import MedLAMPretraining
from tests.support.fakes.fake_embedding import fake_embedding


def test_landmark_errors_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures that two phantoms have in common are looked up both ways; the encoder stays in training."""

    class Place:
        """Says of every place where it was in its own scan, and one millimetre beside that when asked again."""

        def read(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return points, torch.zeros(len(points), 1)

        def body_lattice(self, step_mm: float) -> None:
            """Nothing to align whole scans by: the votes answer first."""

        def refine(self, features: torch.Tensor, points: torch.Tensor, *how: float) -> SimpleNamespace:
            return SimpleNamespace(points=(points + torch.tensor([1.0, 0.0, 0.0]))[:, None])

    encoder = MedLAMPretraining(EncoderConfig(6.0, (8, 8, 8, 8), (1, 1, 1, 1), 8, 8)).encoder.train()
    modes = []
    monkeypatch.setattr(
        validation, "embed", lambda image, network, device: modes.append(network.training) or Place()
    )
    monkeypatch.setattr(validation, "coarse_consensus", lambda scan, latents: (latents, None))
    points = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) * 100
    marked: Any = [
        (None, {"liver": points, "spleen": points}),
        (None, {"liver": points + torch.tensor([3.0, 4.0, 0.0]), "bladder": points}),
    ]
    coarse, fine = validation.landmark_errors(marked, encoder, torch.device("cpu"))
    assert coarse == pytest.approx(5.0, abs=1e-4)
    assert fine == pytest.approx((20**0.5 + 32**0.5) / 2, abs=1e-4)
    assert modes == [False, False]
    assert encoder.training


def test_scans_are_aligned_before_places_are_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes that know nothing do not matter where whole scans can be compared."""
    scans = [fake_embedding(), fake_embedding((60.0, 0.0, 150.0))]
    monkeypatch.setattr(validation, "embed", lambda image, network, device: scans[image])
    monkeypatch.setattr(
        validation, "coarse_consensus", lambda scan, latents: (torch.zeros_like(latents), None)
    )
    points = (torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 100
    marked: Any = [(0, {"liver": points}), (1, {"liver": points + torch.tensor([60.0, 0.0, 150.0])})]
    encoder = MedLAMPretraining(EncoderConfig(6.0, (8, 8, 8, 8), (1, 1, 1, 1), 8, 8)).encoder
    coarse, fine = validation.landmark_errors(marked, encoder, torch.device("cpu"))
    assert coarse > 50
    assert fine < 8


def test_validation_phantoms_are_marked() -> None:
    """With six extreme points of every structure, within the scan."""
    ((image, marks),) = validation.marked_phantoms(1, 12.0)
    low, high = image.grid.box.min, image.grid.box.max
    assert len(marks) > 10
    for name, points in marks.items():
        assert points.shape == (6, 3), name
        assert (points >= torch.tensor(low) - 6).all(), name
        assert (points <= torch.tensor(high) + 6).all(), name
