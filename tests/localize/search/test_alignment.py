"""Whole scans aligned by anchors, on embeddings whose anatomy is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.geometry import Box
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.search.alignment import FEWEST, STEP_MM, Alignment, align
from medlsam.localize.templates.anchors import Anchors, read_anchors
from tests.support.fakes.fake_embedding import fake_embedding

BOX = Box((-40, -40, -40), (20, 30, 40))
PLACES = np.array([[0.0, 0.0, 0.0], [40.0, -30.0, 20.0], [-60.0, 50.0, -70.0]])


def anchors(embedding: Embedding) -> Anchors:
    read = read_anchors(embedding, [BOX])
    assert read is not None
    return read


def aligned(template: Embedding, query: Embedding) -> Alignment:
    found = align(anchors(template), query.body_lattice(STEP_MM))
    assert found is not None
    return found


def test_a_scan_is_aligned_with_itself() -> None:
    fit = aligned(fake_embedding(), fake_embedding()).whole
    assert np.allclose(fit.scale, 1, atol=0.02)
    assert np.abs(fit.shift).max() < 2
    assert fit.support > 0.4
    assert fit.similarity > 0.9


@settings(max_examples=8, deadline=None)
@given(
    st.tuples(*(st.floats(-200, 200) for _ in range(3))),
    st.floats(0.85, 1.2),
)
def test_shift_and_scale_are_found_however_far(shift: tuple[float, float, float], scale: float) -> None:
    found = aligned(fake_embedding(), fake_embedding(shift, scale))
    for fit in (found.whole, found.around(np.zeros(3))):
        assert np.abs(fit.apply(PLACES) - (scale * PLACES + np.array(shift))).max() < 10


def test_a_part_of_the_scan_is_enough() -> None:
    query = fake_embedding((30.0, 0.0, 120.0))
    low, high = query.view
    # Only what lies above: the view of the scan ends there, as if less had been scanned.
    part = replace(query, view=(low + np.array([0, 0, 120]), high))
    found = aligned(fake_embedding(), part)
    assert np.abs(found.whole.apply(PLACES) - PLACES - [30, 0, 120]).max() < 10


def test_organs_that_moved_are_followed_around_them() -> None:
    """Beyond x = 40 everything lies 24 mm higher; the fit of the whole scan cannot say so."""
    template, query = fake_embedding(), fake_embedding()
    places, features = query.body_lattice(STEP_MM)
    moved = places.clone()
    moved[places[:, 0] > 40, 2] += 24.0
    found = align(anchors(template), (moved, features))
    assert found is not None
    right, left = (
        found.around(np.array([x, 0.0, 0.0])).apply(np.array([x, 0.0, 0.0])) for x in (-60.0, 100.0)
    )
    assert right == pytest.approx([-60, 0, 0], abs=8)
    assert left == pytest.approx([100, 0, 24], abs=8)


def test_another_body_gets_little_support() -> None:
    query = fake_embedding()
    places, features = query.body_lattice(STEP_MM)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    found = align(anchors(fake_embedding()), (places, features[order]))
    assert found is not None
    assert found.whole.support < 0.1 < aligned(fake_embedding(), query).whole.support


def test_too_little_body_aligns_nothing() -> None:
    places, features = fake_embedding().body_lattice(STEP_MM)
    assert align(anchors(fake_embedding()), (places[: FEWEST - 1], features[: FEWEST - 1])) is None


def test_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = aligned(fake_embedding(), fake_embedding((20.0, 0.0, 0.0))).whole
    monkeypatch.setattr("medlsam.localize.search.alignment._BUDGET", 1)
    single = aligned(fake_embedding(), fake_embedding((20.0, 0.0, 0.0))).whole
    assert np.allclose(whole.scale, single.scale, atol=1e-4)
    assert np.allclose(whole.shift, single.shift, atol=1e-2)


def test_anchors_thin_out_far_from_the_structures() -> None:
    near = anchors(fake_embedding()).points
    far = read_anchors(fake_embedding(), [Box((600, 600, 600), (620, 620, 620))])
    assert far is not None
    assert len(far.points) == pytest.approx(len(near) / 8, rel=0.05)
    assert {tuple(p) for p in far.points} <= {tuple(p) for p in near}


def test_places_outside_of_the_body_are_no_anchors() -> None:
    empty = fake_embedding()
    half = replace(empty, body8=empty.body8.clone())
    half.body8[4:] = False
    assert anchors(half).points[:, 2].max() < 20
    half.body8[:] = False
    assert len(half.body_lattice(STEP_MM)[0]) == 0
