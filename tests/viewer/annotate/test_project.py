"""From clicks to a segmentation, with the networks that ship, on phantoms of the abdomen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import medlsam
from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES, Box, ExtremePoints
from medlsam.io.cases import Case, find_cases
from medlsam.io.slicer_markups.extreme_points import face_centres
from medlsam.io.write import write_volume
from medlsam.localize.templates.shape import shape_in_box
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.phantoms import Phantom, phantom
from medlsam.pipeline.model import MedLSAM
from medlsam.viewer.annotate.agreement import ENOUGH
from medlsam.viewer.annotate.project import AnnotationProject
from medlsam.volume import LabelMap

STRUCTURES = ("liver", "kidney_left")
SEEDS = {"person_1": 1, "person_2": 2, "person_3": 3, "person_4": 11}


@pytest.fixture(scope="module")
def model() -> MedLSAM:
    return medlsam.load(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def people() -> dict[str, Phantom]:
    return {name: phantom(seed, (5.0, 5.0, 5.0), (250.0, 460.0)) for name, seed in SEEDS.items()}


@pytest.fixture(scope="module")
def scans(people: dict[str, Phantom], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("scans")
    for name, person in people.items():
        write_volume(person.image, folder / f"{name}.nii.gz")
    return find_cases(folder)


def mask(person: Phantom, structure: str) -> np.ndarray:
    value = {name: value for value, name in person.names.items()}[structure]
    return np.asarray(person.labels.array == value)


def truth(person: Phantom, structure: str) -> ExtremePoints:
    return ExtremePoints.from_mask(mask(person, structure), person.labels.grid)


def mark(project: AnnotationProject, people: dict[str, Phantom], case: str) -> None:
    for structure in STRUCTURES:
        points = truth(people[case], structure).points
        # In any order, and only some of them said to be of a face.
        for n in (3, 0, 5, 1, 4, 2):
            project.place(case, structure, points[n], FACES[n] if n % 2 else None)


@pytest.fixture
def marked(
    model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> Iterator[AnnotationProject]:
    with AnnotationProject(scans, tmp_path / "out", model=model) as project:
        for case in project.cases[:3]:
            mark(project, people, case)
        yield project


@pytest.mark.slow
def test_two_structures_in_three_scans_segment_a_fourth(
    marked: AnnotationProject, model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> None:
    marked.place("person_4", "liver", (0, 0, -300))
    built = marked.build(tmp_path / "own.medlsam")
    assert dict(built.left_out) == {"person_4": "liver has 1 of 6 points"}
    templates = model.templates(tmp_path / "own.medlsam")
    # The folder is the same to everybody else.
    again = model.templates(tmp_path / "out")
    assert again.structures == templates.structures == STRUCTURES
    for name in STRUCTURES:
        for one, other in zip(templates.by_structure[name], again.by_structure[name], strict=True):
            np.testing.assert_allclose(one.points, other.points)
            np.testing.assert_allclose(one.features, other.features, atol=1e-3)
        assert templates.calibration[name].n == again.calibration[name].n == 3
    found = model.segment(scans[3].path, templates)
    for name in STRUCTURES:
        located = found.localization.structures[name]
        assert located.present
        assert located.located_box is not None
        assert located.located_box.iou(truth(people["person_4"], name).box) > 0.6
        assert dice(found.labels.array == templates.values[name], mask(people["person_4"], name)) > 0.6


@pytest.mark.slow
def test_what_is_located_in_a_new_scan_is_accepted_and_corrected(
    marked: AnnotationProject, people: dict[str, Phantom], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="nothing was proposed yet"):
        marked.accept("person_4", "liver")
    proposals = marked.propose("person_4")
    assert set(proposals) == set(STRUCTURES)
    for name, proposal in proposals.items():
        assert proposal.status in ("found", "uncertain")
        assert proposal.expected_error_mm is not None
        assert proposal.box is not None
        assert proposal.box.iou(truth(people["person_4"], name).box) > 0.6
        assert f"some {proposal.expected_error_mm:.0f} mm off" in proposal.message
        marks = marked.accept("person_4", name)
        # As located, to the file and back.
        assert marks.box is not None
        np.testing.assert_allclose(marks.box.faces, proposal.box.faces)
        assert marks.off_box == {}
    assert marked.scan("person_4").done
    moved = marked.move_face("person_4", "liver", "z+", truth(people["person_4"], "liver").box.max[2])
    assert moved.complete
    assert marked.undo("person_4").marks["liver"].box == proposals["liver"].box
    # What is answered is not proposed again, but on request; then its own marks do not help.
    assert marked.propose("person_4") == {}
    assert marked.propose("person_4", ["liver"])["liver"].box == proposals["liver"].box


@pytest.mark.slow
def test_the_scan_that_disagrees_is_named_with_the_end_to_look_at(
    model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> None:
    with AnnotationProject(scans, tmp_path / "out", model=model) as project:
        assert "no structure is complete" in project.agreement().messages[0]
        mark(project, people, "person_1")
        first = project.agreement()
        assert first.disagreements == ()
        assert "liver: only person_1 has it complete; nothing can be compared yet" in first.messages[0]
        mark(project, people, "person_2")
        second = project.agreement()
        assert second.disagreements == ()
        assert len(second.unknown) == 2
        assert "person_1 and person_2" in second.unknown[0]
        assert "third scan" in second.unknown[0]
        mark(project, people, "person_4")
        fine = project.agreement()
        assert [each for each in fine.disagreements if each.structure == "kidney_left"] == []
        assert (
            f"with fewer than {ENOUGH} a mistake of a few centimetres may still go unseen" in fine.unknown[-1]
        )
        low = truth(people["person_4"], "kidney_left").box.min[2]
        project.move_face("person_4", "kidney_left", "z-", low - 45)
        spoilt = next(each for each in project.agreement().disagreements if each.structure == "kidney_left")
        assert (spoilt.case, spoilt.face) == ("person_4", "z-")
        assert spoilt.message.startswith("the fourth scan (person_4) disagrees on the kidney_left by ")
        assert "look at its lower end, which is marked further towards the feet" in spoilt.message
        project.undo("person_4")
        assert project.agreement() == fine


@pytest.mark.slow
def test_other_templates_propose_first_and_a_broken_scan_costs_no_other(
    marked: AnnotationProject, model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> None:
    marked.build(tmp_path / "support.medlsam")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"nothing")
    cases = [*scans[:1], Case("broken", broken), scans[3]]
    with AnnotationProject(cases, tmp_path / "more", tmp_path / "support.medlsam", model) as project:
        found = project.propose("person_4")
        assert set(found) == set(STRUCTURES)
        project.accept("person_4", "kidney_left")
        assert project.structures == ("kidney_left",)
        project.set_points("person_1", "spleen", truth(people["person_1"], "spleen"))
        assert set(project.propose("person_4")) == {"liver", "spleen"}
        (tmp_path / "more/person_1/image.nii.gz").unlink()
        (tmp_path / "more/person_1/image.nii.gz").write_bytes(b"nothing")
        built = project.build(tmp_path / "rest.medlsam")
        assert built.templates.structures == ("kidney_left",)
        assert "person_1/image.nii.gz" in built.left_out["person_1"]


@pytest.mark.slow
def test_a_click_is_saved_while_a_scan_is_embedded(
    marked: AnnotationProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, inside, go_on = type(marked._learner.model.localizer).embed, threading.Event(), threading.Event()

    def slow(self, volume):
        inside.set()
        assert go_on.wait(60)
        return embed(self, volume)

    monkeypatch.setattr(type(marked._learner.model.localizer), "embed", slow)
    thread = threading.Thread(target=marked.agreement)
    thread.start()
    assert inside.wait(60)
    marked.place("person_4", "liver", (0, 0, -300))
    assert thread.is_alive()
    go_on.set()
    thread.join()


@pytest.mark.slow
def test_label_maps_in_the_folder_are_templates_too(
    model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    person = people["person_2"]
    labels = mask(person, "liver").astype(np.uint8)
    write_volume(person.image, output / "person_2/image.nii.gz")
    write_volume(LabelMap(labels, person.labels.grid), output / "person_2/labels.nii.gz")
    with AnnotationProject(scans, output, model=model, memory_bytes=0) as project:
        with pytest.raises(TemplateError, match="no structure is complete in any scan"):
            project.build(tmp_path / "none.medlsam")
        project.add_structure("liver")
        project.set_points("person_1", "liver", truth(people["person_1"], "liver"))
        built = project.build(tmp_path / "own.medlsam")
    assert built.templates.template_names == ("person_1", "person_2")
    clicked, labelled = TemplateSet.load(tmp_path / "own.medlsam").by_structure["liver"]
    # The clicked one's mask was drawn by sam-tiny; the other one's is that of the label map.
    assert clicked.shape.size == labelled.shape.size > 0
    exact = shape_in_box(mask(person, "liver"), person.labels.grid, truth(person, "liver").box)
    np.testing.assert_array_equal(labelled.shape, exact)


@pytest.mark.slow
def test_a_box_that_no_mask_fills_is_told(
    model: MedLSAM, people: dict[str, Phantom], scans: list[Case], tmp_path: Path
) -> None:
    # In the air beside the body, as wide as a liver.
    low = np.array(people["person_1"].image.grid.box.min) + 5
    air = Box(tuple(low), tuple(np.add(low, (60, 60, 80))))
    with AnnotationProject(scans, tmp_path / "out", model=model) as project:
        project.add_structure("liver")
        project.set_points("person_1", "liver", ExtremePoints.from_unordered(face_centres(air)))
        project.place("person_2", "liver", people["person_2"].image.grid.box.center)
        built = project.build(tmp_path / "own.medlsam")
    unfinished, drawn = built.notes
    assert unfinished == "person_2: liver has 1 of 6 points"
    assert drawn.startswith(
        "person_1: the mask that sam-tiny draws of liver does not fill the box of its points"
    )
    assert built.templates.by_structure["liver"][0].shape.size == 0
