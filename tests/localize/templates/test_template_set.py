"""Template files: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medlsam.errors import TemplateError
from medlsam.geometry import Box, Grid
from medlsam.localize.build_templates import slab_count, slab_points
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.shape import (
    mean_profile,
    mean_shape,
    shape_in_box,
    slice_profile,
)
from medlsam.localize.templates.template_set import StructureCalibration, StructureTemplate, TemplateSet


def structure_template(name: str, seed: int) -> StructureTemplate:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(33, 3)).astype(np.float32) * 50
    return StructureTemplate(
        template=name,
        points=points,
        latents=rng.normal(size=(33, 3)).astype(np.float32),
        features=rng.normal(size=(33, 96)).astype(np.float32),
        slab_points=rng.normal(size=(3, 6, 3)).astype(np.float32),
        slab_latents=rng.normal(size=(3, 6, 3)).astype(np.float32),
        slab_features=rng.normal(size=(3, 6, 96)).astype(np.float32),
        shape=rng.integers(0, 255, (32, 32, 32)).astype(np.uint8),
        profile=rng.random((12, 5)).astype(np.float32),
        probe_gram=rng.random(55).astype(np.float32),
        probe_target=rng.random(10).astype(np.float32),
        inside=rng.random(9).astype(np.float32),
        node_points=rng.normal(size=(40, 3)).astype(np.float32),
        node_features=rng.normal(size=(40, 96)).astype(np.float32),
    )


@pytest.fixture
def templates() -> TemplateSet:
    groups = {
        "liver": (structure_template("p1", 1), structure_template("p2", 2)),
        "Leber Segment «IV» / ü": (structure_template("p1", 3),),
    }
    values = {"liver": 5, "Leber Segment «IV» / ü": 300}
    calibration = {"liver": StructureCalibration(2, (1.0, 2, 3, 4, 5, 6), (2.0,) * 6, 0.7, 0.5)}
    rng = np.random.default_rng(9)
    anchors = {
        name: Anchors(
            (rng.normal(size=(count, 3)) * 200).astype(np.float32),
            rng.normal(size=(count, 64)).astype(np.float32),
        )
        for name, count in (("p2", 20), ("p1", 30))
    }
    return TemplateSet(values, groups, "abc", calibration, "somewhere", anchors=anchors)


def test_round_trip(templates: TemplateSet, tmp_path: Path) -> None:
    templates.save(tmp_path / "t.medlsam")
    again = TemplateSet.load(tmp_path / "t.medlsam")
    assert again.structures == templates.structures
    assert (again.values, again.signature, again.source) == (templates.values, "abc", "somewhere")
    assert again.calibration["liver"].face_error_mm == (1, 2, 3, 4, 5, 6)
    for structure in templates.structures:
        for one, other in zip(templates.by_structure[structure], again.by_structure[structure], strict=True):
            assert one.template == other.template
            assert np.array_equal(one.points, other.points)
            assert np.array_equal(one.shape, other.shape)
            assert np.allclose(one.features, other.features, atol=2e-3)  # stored in half precision
            assert np.array_equal(one.node_points, other.node_points)
            assert np.allclose(one.node_features, other.node_features, atol=2e-3)
            assert other.node_features.dtype == np.float32
    assert again.anchors.keys() == templates.anchors.keys()
    for name, own in templates.anchors.items():
        assert np.array_equal(own.points, again.anchors[name].points), name
        assert np.allclose(own.features, again.anchors[name].features, atol=2e-3), name


def test_a_template_that_is_left_out_takes_its_anchors_along(templates: TemplateSet) -> None:
    assert set(templates.without("p1").anchors) == {"p2"}
    assert set(templates.select(["liver"]).anchors) == {"p1", "p2"}


def test_saving_twice_gives_the_same_bytes(templates: TemplateSet, tmp_path: Path) -> None:
    for name in ("a", "b"):
        templates.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_select_and_without(templates: TemplateSet) -> None:
    assert templates.select(["liver"]).structures == ("liver",)
    assert templates.template_names == ("p1", "p2")
    rest = templates.without("p1")
    assert rest.structures == ("liver",)
    assert [s.template for s in rest.by_structure["liver"]] == ["p2"]
    with pytest.raises(TemplateError, match=r"spleen.*liver"):
        templates.select(["spleen"])


def test_wrong_files_are_named(templates: TemplateSet, tmp_path: Path) -> None:
    path = tmp_path / "t.medlsam"
    with pytest.raises(TemplateError, match="no such"):
        TemplateSet.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(TemplateError, match="not a medlsam template file"):
        TemplateSet.load(path)
    save_file({"x": np.zeros(2)}, path, {"medlsam": json.dumps({"kind": "localizer"})})
    with pytest.raises(TemplateError, match="kind 'localizer'"):
        TemplateSet.load(path)
    save_file({"x": np.zeros(2)}, path, {"medlsam": json.dumps({"kind": "templates", "format": 99})})
    with pytest.raises(TemplateError, match="99"):
        TemplateSet.load(path)
    templates.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TemplateError, match="damaged"):
        TemplateSet.load(path)


GRID = Grid((20, 30, 40), (2.0, 2.0, 3.0), (-10.0, 5.0, 100.0))


def test_shape_of_a_filled_box_is_full() -> None:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[4:14, 5:25, 10:30] = True
    box = Box((-10 + 19, 5 + 9, 100 + 10.5), (-10 + 59, 5 + 49, 100 + 40.5))
    shape = shape_in_box(mask, GRID, box)
    assert shape.shape == (32, 32, 32)
    assert shape[4:-4, 4:-4, 4:-4].min() == 255
    assert shape.mean() > 230


def test_profile_of_a_step() -> None:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[4:8, 10:20, 10:30] = True  # ten voxels wide in y, twenty in x
    mask[8:12, 10:20, 10:20] = True  # the upper half covers the low half of x
    box = Box((-10 + 19, 5 + 19, 100 + 10.5), (-10 + 59, 5 + 39, 100 + 34.5))
    profile = slice_profile(mask, GRID, box)
    assert profile.shape == (8, 5)
    assert profile[0] == pytest.approx([1 / 16, 0, 0, 1, 1])
    assert profile[-1] == pytest.approx([15 / 16, 0, 0, 0.5, 1])


def test_means_over_supports() -> None:
    group = [structure_template("a", 1), structure_template("b", 2)]
    shape = mean_shape(group)
    assert shape is not None
    assert shape == pytest.approx((group[0].shape / 255.0 + group[1].shape / 255.0) / 2, abs=1e-5)
    profile = mean_profile(group, rows=8)
    assert profile is not None
    assert profile.shape == (8, 5)
    assert profile[:, 0] == pytest.approx((np.arange(8) + 0.5) / 8)


def test_slabs() -> None:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[2:18, 10:20, 10:30] = True  # 48 mm high: three slabs of 16 mm
    assert slab_count(mask, GRID) == 3
    points = slab_points(mask, GRID, 3)
    assert points.shape == (3, 6, 3)
    # Slab faces meet, and the outer ones are those of the whole.
    assert points[0, 5, 2] == pytest.approx(points[1, 4, 2])
    assert points[0, 4, 2] == pytest.approx(100 + 2 * 3 - 1.5)
    assert points[-1, 5, 2] == pytest.approx(100 + 17 * 3 + 1.5)
    assert slab_points(mask, GRID, 1).shape == (0, 6, 3)
