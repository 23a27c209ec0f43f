"""Templates of six points: sam-tiny draws their masks, the points stay, and what does not fit is left out."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import medlsam
from medlsam.export.slicer_markups import write_nodes
from medlsam.geometry import Box, ExtremePoints
from medlsam.io.slicer_markups.extreme_points import face_centres
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template, build_templates
from medlsam.measure.metrics import dice
from medlsam.options import InferenceOptions
from medlsam.phantoms import Phantom, phantom
from medlsam.pipeline.drawn_masks import drawing_segmenter, with_drawn_masks
from medlsam.pipeline.model import MedLSAM
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image, to_canonical
from tests.support.fakes.stub_model import StubLocalizer, StubSegmenter

STRUCTURES = ("liver", "spleen")
NAMES = {1: "liver", 2: "spleen"}


@pytest.fixture(scope="module")
def ours() -> MedLSAM:
    return medlsam.load(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def person() -> Phantom:
    return phantom(3, (4.0, 4.0, 4.0), (300.0, 480.0))


def truth(made: Phantom, name: str) -> np.ndarray:
    (value,) = (value for value, own in made.names.items() if own == name)
    return np.asarray(made.labels.array == value)


def points_of(made: Phantom) -> dict[str, ExtremePoints]:
    return {name: ExtremePoints.from_mask(truth(made, name), made.labels.grid) for name in STRUCTURES}


def clicked(made: Phantom) -> Template:
    return Template("anna", made.image, points=points_of(made))


def never() -> Segmenter:
    raise AssertionError("nothing is to be drawn")


def test_masks_are_drawn_and_points_stay(ours: MedLSAM, person: Phantom) -> None:
    template = clicked(person)
    found = with_drawn_masks(template, lambda: ours.segmenter)
    assert found.points == template.points
    assert found.labels is None
    assert set(found.drawn or {}) == set(STRUCTURES)
    for name, mask in (found.drawn or {}).items():
        assert dice(mask, truth(person, name)) > 0.8
    built = build_templates(ours.localizer, [found], NAMES, calibrate=False)
    plain = build_templates(ours.localizer, [template], NAMES, calibrate=False)
    for name in STRUCTURES:
        (drawn,), (bare,) = built.by_structure[name], plain.by_structure[name]
        assert drawn.shape.size > bare.shape.size == 0
        assert len(drawn.hu) > len(bare.hu) == 0
        assert drawn.points.shape == bare.points.shape
        # The outermost points are those that were clicked, not the mask's.
        np.testing.assert_allclose(drawn.points[:6], bare.points[:6], atol=1e-3)
        np.testing.assert_allclose(
            ExtremePoints.from_unordered(drawn.points[:6]).box.faces,
            points_of(person)[name].box.faces,
            atol=0.1,
        )
        assert len(bare.profile) == 32


@pytest.mark.parametrize("turned", ["flipped", "oblique"])
def test_masks_lie_on_the_canonical_grid(turned: str, ours: MedLSAM, person: Phantom) -> None:
    grid = person.image.grid
    if turned == "flipped":
        flipped = replace(
            grid,
            direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
            origin_xyz=tuple(grid.ijk_to_lps([grid.shape_zyx[2] - 1, grid.shape_zyx[1] - 1, 0])),
        )
        image = Image(person.image.array[:, ::-1, ::-1], flipped)
    else:
        angle = np.radians(10)
        c, s = float(np.cos(angle)), float(np.sin(angle))
        tilted = replace(grid, direction=(c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0))
        image = Image(person.image.array, tilted)
    where = image.grid
    points = {name: ExtremePoints.from_mask(_moved(person, name, turned), where) for name in STRUCTURES}
    found = with_drawn_masks(Template("anna", image, points=points), lambda: ours.segmenter)
    canonical = to_canonical(image)
    for name in STRUCTURES:
        mask = (found.drawn or {})[name]
        assert mask.shape == canonical.array.shape
        box = ExtremePoints.from_mask(mask, canonical.grid).box
        assert box.iou(points[name].box) > 0.6
    build_templates(ours.localizer, [found], NAMES, calibrate=False)


def _moved(person: Phantom, name: str, turned: str) -> np.ndarray:
    return truth(person, name)[:, ::-1, ::-1] if turned == "flipped" else truth(person, name)


def test_a_mask_that_does_not_fill_its_box_is_left_out_and_told(
    ours: MedLSAM, person: Phantom, caplog: pytest.LogCaptureFixture
) -> None:
    # Air beside the body, as wide as a liver: there is nothing to draw.
    view = person.image.grid.box
    corner = Box(view.min, tuple(np.add(view.min, (60.0, 60.0, 80.0))))
    points = {**points_of(person), "liver": ExtremePoints.from_unordered(face_centres(corner))}
    with caplog.at_level(logging.WARNING):
        found = with_drawn_masks(Template("anna", person.image, points=points), lambda: ours.segmenter)
    assert set(found.drawn or {}) == {"spleen"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("anna: the mask that sam-tiny draws of liver does not fill the box of its points")
    built = build_templates(ours.localizer, [found], NAMES, calibrate=False)
    assert built.by_structure["liver"][0].shape.size == 0
    assert built.by_structure["spleen"][0].shape.size > 0


def test_nothing_is_drawn_where_nothing_is_asked(person: Phantom) -> None:
    labelled = Template("anna", person.image, person.labels)
    assert with_drawn_masks(labelled, never) is labelled
    assert with_drawn_masks(clicked(person), never, organs=["heart"]).drawn is None
    flat = np.array([[0.0, 0.0, 0.0]] * 6)
    beyond = flat + [[0, 0, 0], [9, 0, 0], [0, 0, 0], [0, 9, 0], [0, 0, 0], [0, 0, 9]] + 5000
    for wrong in (flat, beyond):
        template = Template("anna", person.image, points={"liver": ExtremePoints(tuple(map(tuple, wrong)))})
        assert with_drawn_masks(template, never).drawn is None


def test_a_folder_of_points_gives_templates_with_shapes(
    ours: MedLSAM, person: Phantom, tmp_path: Path
) -> None:
    folder = tmp_path / "templates"
    for name, made in (("anna", person), ("bert", phantom(4, (4.0, 4.0, 4.0), (300.0, 480.0)))):
        write_volume(made.image, folder / name / "image.nii.gz")
        write_nodes(
            folder / name / "extreme_points.mrk.json", [node(*item) for item in points_of(made).items()]
        )
    (folder / "labels.json").write_text(json.dumps({"liver": 1, "spleen": 2}))
    found = ours.templates(folder, organs=["liver"])
    assert found.structures == ("liver",)
    assert all(item.shape.size for item in found.by_structure["liver"])
    query = phantom(5, (4.0, 4.0, 4.0), (300.0, 480.0))
    result = ours.segment(query.image, found, case="query")
    assert result.warnings == ()
    assert dice(result.labels.array == 1, truth(query, "liver")) > 0.75


def node(name: str, points: ExtremePoints) -> dict[str, object]:
    return {
        "type": "Fiducial",
        "name": name,
        "coordinateSystem": "LPS",
        "controlPoints": [
            {"id": str(n), "label": f"{name}-{n}", "position": list(place), "positionStatus": "defined"}
            for n, place in enumerate(points.points, start=1)
        ],
    }


def test_a_whole_slice_model_lets_sam_tiny_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str, *args: object, **more: object) -> StubSegmenter:
        loaded.append(name)
        return StubSegmenter()

    for module in ("decoder", "drawn_masks"):
        monkeypatch.setattr(f"medlsam.pipeline.{module}.load_segmenter", load)
    monkeypatch.setattr("medlsam.pipeline.decoder.keep_embeddings", lambda segmenter, cache: segmenter)
    for name in ("medsam_vit_b", "sam-tiny"):
        model = MedLSAM(StubLocalizer(), options=InferenceOptions(segmenter=name))  # type: ignore[arg-type]
        drawing_segmenter(model)
        assert loaded == ["sam-tiny"]
        loaded.clear()
    own = StubSegmenter()
    assert drawing_segmenter(MedLSAM(StubLocalizer(), own)) is own  # type: ignore[arg-type]
    whole = StubSegmenter(spec=SimpleNamespace(name="stub", kind="sam"))
    assert drawing_segmenter(MedLSAM(StubLocalizer(), whole)) is not whole  # type: ignore[arg-type]
    assert loaded == ["sam-tiny"]
