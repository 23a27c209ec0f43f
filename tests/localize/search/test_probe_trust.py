"""How far faces follow the probe: by a bounded step, and by as much as left-out templates recommend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.localize.search import probe_trust
from medlsam.localize.search.boundary_probe import Probe, fit_probe
from medlsam.localize.search.probe_trust import (
    TRUSTS,
    along_axes,
    apply_probe,
    moved_faces,
    recommend_trust,
)
from medlsam.localize.templates.template_set import DEFAULT_TRUST
from tests.localize.search.test_boundary_probe import Ball, template


@pytest.fixture(scope="module")
def probe() -> Probe:
    found = fit_probe([template(Ball((0, 0, 0), 30.0)), template(Ball((6, -6, 3), 36.0))])
    assert found is not None
    return found


def test_faces_follow_by_a_few_millimetres_at_most(probe: Probe) -> None:
    query = Ball((0, 0, 0), 44.0)
    box = query.box.expand(-19.0)
    moved = moved_faces(query, probe, probe.apply(query, box), "gentle")  # type: ignore[arg-type]
    assert np.allclose(np.abs(moved - box.faces), 6.0)
    assert (np.abs(moved - query.box.faces) < np.abs(box.faces - query.box.faces)).all()


def test_a_strong_reach_goes_farther_and_none_stays(probe: Probe) -> None:
    query = Ball((0, 0, 0), 80.0)
    box = query.box.expand(-25.0)
    first = probe.apply(query, box)  # type: ignore[arg-type]
    error = {
        trust: np.abs(moved_faces(query, probe, first, trust) - query.box.faces).max()  # type: ignore[arg-type]
        for trust in TRUSTS
    }
    assert error["none"] == pytest.approx(25.0)
    assert error["strong"] < error["gentle"] < error["none"]


def test_faces_stay_where_no_support_has_a_mask() -> None:
    query, none = Ball((0, 0, 0), 44.0), np.zeros(0, np.float32)
    bare = replace(template(query), probe_gram=none, probe_target=none)
    faces, contrast = apply_probe(query, [bare], query.box, TRUSTS)  # type: ignore[arg-type]
    assert contrast is None
    assert all(np.array_equal(faces[trust], query.box.faces) for trust in TRUSTS)


def test_each_reach_that_is_asked_is_followed(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_trust, "CONTRASTS", (0.0, 0.01))
    query, shape = Ball((0, 0, 0), 44.0), np.zeros((32, 32, 32), np.uint8)
    shape[8:24, 8:24, 8:24] = 255
    marked = [replace(template(Ball((0, 0, 0), 30.0)), shape=shape), template(Ball((6, -6, 3), 36.0))]
    box = query.box.expand(-19.0)
    faces, contrast = apply_probe(query, marked, box, ("gentle", "none", "gentle"))  # type: ignore[arg-type]
    assert set(faces) == {"gentle", "none"}
    first = probe.apply(query, box)  # type: ignore[arg-type]
    assert np.allclose(faces["gentle"], moved_faces(query, probe, first, "gentle"))  # type: ignore[arg-type]
    assert contrast is not None
    assert contrast > 0
    # Half of the way where the contrast lies in the middle, none where it is lower.
    for contrasts, share in (((contrast - 1, contrast + 1), 0.5), ((contrast + 1, contrast + 2), 0.0)):
        monkeypatch.setattr(probe_trust, "CONTRASTS", contrasts)
        part, _ = apply_probe(query, marked, box, ("gentle",))  # type: ignore[arg-type]
        assert np.allclose(part["gentle"] - box.faces, share * (faces["gentle"] - box.faces))


def test_every_axis_has_its_own_reach() -> None:
    faces = {trust: np.arange(6.0) + 10 * i for i, trust in enumerate(TRUSTS)}
    assert along_axes(faces, ("none", "gentle", "strong")).tolist() == [0, 1, 12, 13, 24, 25]


def test_the_reach_that_the_left_out_recommend_is_chosen() -> None:
    rng = np.random.default_rng(0)
    errors = {trust: rng.normal(0, 1, (5, 6)) for trust in TRUSTS}
    errors["none"][:, :2] += 12
    errors["gentle"][:, :2] += 8
    errors["gentle"][:, 4:] += 6
    errors["strong"][:, 4:] += 12
    x, _, z = recommend_trust(errors)
    assert (x, z) == ("strong", "none")


def test_without_a_difference_the_cautious_reach_is_taken() -> None:
    same = np.random.default_rng(0).normal(0, 3, (5, 6))
    assert recommend_trust(dict.fromkeys(TRUSTS, same)) == ("gentle", "gentle", "none")


def test_without_trials_the_default_holds() -> None:
    assert recommend_trust(dict.fromkeys(TRUSTS, np.zeros((0, 6)))) == DEFAULT_TRUST
