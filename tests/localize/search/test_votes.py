"""Coarse and fine search on an embedding whose right answers are known."""

from __future__ import annotations

import numpy as np
import torch

from medlsam.localize.network.similarity import search_window
from medlsam.localize.search.votes import coarse_consensus, random_starts
from tests.support.fakes.fake_embedding import fake_embedding

PLACES = torch.tensor([[10.0, -20.0, 30.0], [-60.0, 50.0, -40.0], [0.0, 0.0, 0.0]])


def test_reading_off_gives_latents_and_unit_features() -> None:
    latents, features = fake_embedding().read(PLACES)
    assert torch.allclose(latents * torch.tensor([600.0, 600.0, 1500.0]), PLACES, atol=1e-2)
    assert torch.allclose(features.unflatten(-1, (3, -1)).norm(dim=-1), torch.ones(()), atol=1e-5)


def test_a_lattice_is_read_as_its_places_are() -> None:
    scan = fake_embedding()
    axes = [np.arange(-40.0, 30.0, 7.0), np.arange(100.0, 150.0, 9.0), np.array([-5.0])]  # y leaves the scan
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    assert torch.allclose(scan.read_lattice(axes), scan.read(places)[1], atol=1e-5)
    direction = torch.linspace(-2, 3, scan.read(places)[1].shape[1])
    assert torch.allclose(scan.project_lattice(axes, direction), scan.read(places)[1] @ direction, atol=1e-4)


def test_coarse_consensus_finds_the_place() -> None:
    latents, _ = fake_embedding().read(PLACES)
    query = fake_embedding(shift=(24.0, -16.0, 40.0))
    found, spread = coarse_consensus(query, latents)
    wanted = PLACES + torch.tensor([24.0, -16.0, 40.0])
    assert (found - wanted).abs().max() < 2.0
    assert (spread < 10).all()


def test_coarse_consensus_shrugs_off_cells_that_know_nothing() -> None:
    latents, _ = fake_embedding().read(PLACES)
    query = fake_embedding()
    broken = torch.rand(query.positions.shape[1:], generator=torch.Generator().manual_seed(1)) < 0.2
    query.positions[:, broken] = 3.0
    found, _ = coarse_consensus(query, latents)
    assert (found - PLACES).norm(dim=-1).max() < 8.0


def test_random_starts_are_a_mean_over_starts() -> None:
    latents, _ = fake_embedding().read(PLACES)
    query = fake_embedding(shift=(24.0, -16.0, 40.0))
    first, _ = random_starts(query, torch.Generator().manual_seed(0)).offset_to(latents)
    again, _ = random_starts(query, torch.Generator().manual_seed(0)).offset_to(latents)
    other, _ = random_starts(query, torch.Generator().manual_seed(1)).offset_to(latents)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first - PLACES - torch.tensor([24.0, -16.0, 40.0])).abs().max() < 10.0


def test_refine_finds_the_place_within_its_window() -> None:
    _, features = fake_embedding().read(PLACES)
    query = fake_embedding(shift=(8.0, -8.0, 16.0))
    wanted = PLACES + torch.tensor([8.0, -8.0, 16.0])
    matches = query.refine(features[:, None], wanted + 12.0, 32.0, temperature=0.005)
    assert (matches.points[:, 0] - wanted).abs().max() < 4.0  # half a feature cell
    assert (matches.similarity > 0.95).all()


def test_refine_shares_windows_between_supports() -> None:
    _, features = fake_embedding().read(PLACES)
    both = torch.stack([features, features.flip(0)], dim=1)
    together = fake_embedding().refine(both, PLACES, 24.0)
    alone = fake_embedding().refine(features[:, None], PLACES, 24.0)
    assert torch.allclose(together.points[:, :1], alone.points, atol=1e-3)


def test_a_stage_at_a_time_gives_the_same() -> None:
    _, features = fake_embedding().read(PLACES)
    query = fake_embedding(shift=(8.0, -8.0, 16.0))
    whole = search_window(query.maps, features[:, None], PLACES, 24.0, 0.03)
    chunked = search_window(query.maps, features[:, None], PLACES, 24.0, 0.03, chunk=1)
    assert torch.allclose(whole.points, chunked.points, atol=1e-3)


def test_a_wide_window_is_searched_on_a_coarser_map() -> None:
    _, features = fake_embedding().read(PLACES)
    query = fake_embedding(shift=(40.0, -48.0, 32.0))
    found = query.refine(features[:, None], PLACES, 100.0, temperature=0.01)
    assert (found.points[:, 0] - PLACES - torch.tensor([40.0, -48.0, 32.0])).abs().max() < 8.0


def test_refine_at_the_border_stays_inside() -> None:
    _, features = fake_embedding().read(PLACES)
    matches = fake_embedding().refine(features[:, None], torch.full((3, 3), 500.0), 24.0)
    assert torch.isfinite(matches.points).all()
    assert (matches.points < 132).all()
