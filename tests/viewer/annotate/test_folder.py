"""Clicks into a templates folder: what is saved, undone, renamed, refused; and the scans that come along."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import medlsam.viewer.annotate.scan_image as scan_image
from medlsam.errors import GeometryError, MedlsamError, TemplateError, UsageError, VolumeError
from medlsam.geometry import FACES, Grid
from medlsam.io.cases import Case, find_cases
from medlsam.io.labelled_scans import POINTS_FILE, find_templates
from medlsam.io.read import read_image
from medlsam.io.slicer_markups import read_markups
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.viewer.annotate.folder import AnnotatedFolder
from medlsam.viewer.annotate.scan_file import read_answers
from medlsam.viewer.annotate.structures import RENAMING_FILE
from tests.support.data.dicom_series import write_slices
from tests.support.web.annotating import GRID, draw, write_scans

#: x-, x+, y-, y+, z-, z+, inside of GRID.
POINTS = ((-20, 0, 120), (20, 2, 118), (0, -10, 121), (3, 20, 119), (2, 4, 106), (1, 5, 140))


@pytest.fixture
def scans(tmp_path: Path) -> list[Case]:
    return write_scans(tmp_path / "scans")


def test_clicks_are_in_the_files_when_the_call_returns(tmp_path, scans):
    output = tmp_path / "out"
    with AnnotatedFolder(scans, output) as project:
        assert project.cases == ("scan_1", "scan_2")
        assert list(output.glob("*/*")) == []
        for n, (face, point) in enumerate(zip(FACES, POINTS, strict=True), start=1):
            marks = project.place("scan_1", "left kidney", point, face)
            assert read_answers(output / "scan_1") == {"left kidney": marks}
            assert len(marks.points) == n
        project.mark_absent("scan_2", "left kidney")
        assert project.scan("scan_1").done
        assert project.scan("scan_2").done
        project.add_structure("liver")
        assert not project.scan("scan_1").done
        assert project.scan("scan_1").marks["liver"].missing == FACES
    assert json.loads((output / "labels.json").read_text()) == {"left kidney": 1, "liver": 2}
    cases, names = find_templates(output)
    assert [case.name for case in cases] == ["scan_1"]
    assert names == {1: "left kidney", 2: "liver"}
    assert list(output.glob("**/.*")) == []
    np.testing.assert_array_equal(read_markups(cases[0].points)["left kidney"].array, POINTS)
    with AnnotatedFolder(scans, output) as again:
        assert again.structures == ("left kidney", "liver")
        assert again.scan("scan_1").marks["left kidney"].complete
        assert again.scan("scan_2").marks["left kidney"].absent


def test_a_dragged_face_is_saved_and_stays_in_the_scan(tmp_path, scans):
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        project.set_points("scan_1", "liver", POINTS)
        for n, face in enumerate(FACES):
            project.move_face("scan_1", "liver", face, POINTS[n][n // 2] * 1.01)
        saved = read_answers(tmp_path / "out/scan_1")["liver"]
        np.testing.assert_allclose(saved.box.faces, [POINTS[n][n // 2] * 1.01 for n in range(6)])
        for call in (
            lambda: project.move_face("scan_1", "liver", "z+", 500),
            lambda: project.place("scan_1", "liver", (0, 0, np.nan), "z+"),
            lambda: project.place("scan_1", "liver", (0, 0, 90), "z-"),
            lambda: project.place("scan_1", "spleen", (0, 0), "z-"),
        ):
            with pytest.raises(GeometryError, match="scan_1"):
                call()
        assert read_answers(tmp_path / "out/scan_1") == {"liver": saved}
        assert project.structures == ("liver",)


def test_undo_and_redo_walk_through_every_kind_of_change(tmp_path, scans):
    with AnnotatedFolder(scans, tmp_path / "out") as project:

        def answers():
            saved = read_answers(tmp_path / "out/scan_1")
            shown = project.scan("scan_1").marks
            assert saved == {name: marks for name, marks in shown.items() if marks.points or marks.absent}
            return saved

        states = [answers()]
        for change in (
            lambda: project.place("scan_1", "liver", POINTS[0]),
            lambda: project.set_points("scan_1", "spleen", POINTS),
            lambda: project.move_face("scan_1", "spleen", "z+", 141),
            lambda: project.remove_point("scan_1", "spleen", "x-"),
            lambda: project.remove("scan_1", "spleen"),
            lambda: project.mark_absent("scan_1", "liver"),
        ):
            change()
            states.append(answers())
        assert len({str(state) for state in states}) == 6
        for state in states[-2::-1]:
            project.undo("scan_1")
            assert answers() == state
            assert project.scan("scan_1").can_redo
        with pytest.raises(UsageError, match="nothing to undo"):
            project.undo("scan_1")
        for state in states[1:]:
            project.redo("scan_1")
            assert answers() == state
        with pytest.raises(UsageError, match="nothing to do again"):
            project.redo("scan_1")
        project.undo("scan_1")
        project.place("scan_1", "liver", POINTS[1])
        assert not project.scan("scan_1").can_redo
        assert not project.scan("scan_2").can_undo


def test_a_renamed_structure_has_its_name_in_all_scans_and_in_what_can_be_undone(tmp_path, scans):
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        project.set_points("scan_1", "kidney", POINTS)
        project.place("scan_2", "kidney", POINTS[0])
        project.place("scan_2", "liver", POINTS[0])
        assert project.rename_structure("kidney", " Left  kidney ") == "Left kidney"
        assert project.structures == ("Left kidney", "liver")
        project.undo("scan_2")
        assert project.undo("scan_2").marks["Left kidney"].points == ()
        project.redo("scan_2")
        for old, new, words in (
            ("kidney", "x", "no structure 'kidney'"),
            ("liver", "left KIDNEY", "there is a structure 'Left kidney' already"),
            ("liver", " ", "is empty"),
            ("liver", "a\tb\x00", "cannot be the name"),
        ):
            with pytest.raises(UsageError, match=words):
                project.rename_structure(old, new)
        assert project.rename_structure("liver", "Liver") == "Liver"
    cases, names = find_templates(tmp_path / "out")
    assert names == {1: "Left kidney", 2: "Liver"}
    assert list(read_markups(cases[0].points)) == ["Left kidney"]


@pytest.mark.parametrize("scans_done", [0, 1, 2])
def test_a_rename_that_was_cut_short_is_finished_later(tmp_path, scans, monkeypatch, scans_done):
    output = tmp_path / "out"
    with AnnotatedFolder(scans, output) as project:
        for case in project.cases:
            project.set_points(case, "kidney", POINTS)

        def cut_short(old, new):
            for scan in list(project._scans.values())[:scans_done]:
                scan.rename(old, new)
            raise KeyboardInterrupt

        monkeypatch.setattr(project, "_rename_in_scans", cut_short)
        with pytest.raises(KeyboardInterrupt):
            project.rename_structure("kidney", "liver")
    assert (output / RENAMING_FILE).is_file()
    if scans_done < 2:
        with pytest.raises(TemplateError, match="kidney is not in labels.json"):
            find_templates(output)
    with AnnotatedFolder(scans, output) as project:
        assert project.structures == ("liver",)
        assert all(project.scan(case).marks["liver"].complete for case in project.cases)
    assert not (output / RENAMING_FILE).exists()
    assert find_templates(output)[1] == {1: "liver"}


def test_a_second_writer_is_refused_and_told_who_is_there(tmp_path, scans):
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        with pytest.raises(UsageError, match=f"at work in this folder .*process {os.getpid()} on"):
            AnnotatedFolder(scans, tmp_path / "out")
        project.place("scan_1", "liver", POINTS[0])
    AnnotatedFolder(scans, tmp_path / "out").close()


def test_a_scan_that_cannot_be_read_costs_no_other(tmp_path, scans):
    (tmp_path / "scans/scan_1.nii.gz").write_bytes(b"no scan")
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        for call in (lambda: project.image("scan_1"), lambda: project.place("scan_1", "liver", POINTS[0])):
            with pytest.raises(VolumeError, match="scan_1"):
                call()
        assert project.place("scan_2", "liver", POINTS[0]).points
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["scan_2"]
    # Nor does a file of answers that is damaged, which is never written over.
    (tmp_path / "out/scan_2" / POINTS_FILE).write_text('{"markups": [')
    write_volume(draw(1), tmp_path / "scans/scan_1.nii.gz")
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        assert "not a 3D Slicer markups file" in project.scan("scan_2").fault
        for call in (
            lambda: project.place("scan_2", "liver", POINTS[0]),
            lambda: project.rename_structure("liver", "spleen"),
        ):
            with pytest.raises(TemplateError, match="mend or remove"):
                call()
        assert (tmp_path / "out/scan_2" / POINTS_FILE).read_text() == '{"markups": ['
        project.place("scan_1", "liver", POINTS[0])
        (tmp_path / "out/scan_2" / POINTS_FILE).unlink()
        project.place("scan_2", "liver", POINTS[0])


def test_what_slicer_saves_meanwhile_is_taken_over(tmp_path, scans):
    output = tmp_path / "out"
    with AnnotatedFolder(scans, output) as project:
        project.place("scan_1", "liver", POINTS[0], "x-")
        path = output / "scan_1" / POINTS_FILE
        data = json.loads(path.read_text())
        data["markups"][0]["controlPoints"][1] |= {"position": list(POINTS[1]), "positionStatus": "defined"}
        write_json(path, data)
        assert set(project.scan("scan_1").marks["liver"].faces) == {"x-", "x+"}
        with pytest.raises(UsageError, match="nothing to undo"):
            project.undo("scan_1")
        project.place("scan_1", "liver", POINTS[2], "y-")
        assert set(read_answers(output / "scan_1")["liver"].faces) == {"x-", "x+", "y-"}


def test_images_are_linked_kept_and_never_exchanged(tmp_path, scans):
    output, source = tmp_path / "out", tmp_path / "scans/scan_1.nii.gz"
    with AnnotatedFolder(scans, output) as project:
        np.testing.assert_array_equal(project.image("scan_1").array, draw(1).array)
    assert os.path.samefile(source, output / "scan_1/image.nii.gz")
    stamp = (output / "scan_1/image.nii.gz").stat().st_mtime_ns
    # A copy of the same bytes, and the folder alone.
    shutil.copy(source, tmp_path / "copy.nii.gz")
    os.replace(tmp_path / "copy.nii.gz", source)
    for cases in (scans, [], find_cases(output)):
        with AnnotatedFolder(cases, output) as project:
            assert "scan_1" in project.cases
            project.place("scan_1", "liver", POINTS[0])
            project.remove("scan_1", "liver")
    assert (output / "scan_1/image.nii.gz").stat().st_mtime_ns == stamp
    write_volume(draw(9), source)
    with AnnotatedFolder(scans, output) as project:
        with pytest.raises(UsageError, match="another image than .*scan_1.nii.gz"):
            project.place("scan_1", "liver", POINTS[0])
        project.place("scan_2", "liver", POINTS[0])
    np.testing.assert_array_equal(read_image(output / "scan_1/image.nii.gz").array, draw(1).array)


def test_an_image_is_copied_where_it_cannot_be_linked(tmp_path, scans, monkeypatch):
    def refuse(*paths):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        project.image("scan_1")
    source, target = tmp_path / "scans/scan_1.nii.gz", tmp_path / "out/scan_1/image.nii.gz"
    assert not os.path.samefile(source, target)
    assert source.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii"])
def test_other_kinds_of_images_come_along(tmp_path, suffix):
    scans = write_scans(tmp_path / "scans", 1, suffix)
    for _ in range(2):
        with AnnotatedFolder(scans, tmp_path / "out") as project:
            project.place("scan_1", "liver", POINTS[0])
    image = "image.nii.gz" if suffix == ".mhd" else f"image{suffix}"
    assert (tmp_path / "out/scan_1" / image).is_file()
    np.testing.assert_array_equal(read_image(tmp_path / "out/scan_1" / image).array, draw(1).array)


def test_a_dicom_series_becomes_an_image_once(tmp_path, monkeypatch):
    write_slices(draw(1), tmp_path / "scans/patient")
    scans = find_cases(tmp_path / "scans")
    reads = []
    read_case = scan_image.read_case
    monkeypatch.setattr(scan_image, "read_case", lambda case: reads.append(case) or read_case(case))
    image = tmp_path / "out/patient/image.nii.gz"
    for _ in range(2):
        with AnnotatedFolder(scans, tmp_path / "out") as project:
            project.place("patient", "liver", POINTS[0])
            np.testing.assert_array_equal(project.image("patient").array, draw(1).array)
    assert len(reads) == 1
    assert read_image(image).grid.matches(GRID)
    # Touched files are read again, and found to be the same.
    for file in scans[0].files:
        os.utime(file)
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        project.place("patient", "liver", POINTS[0])
    assert len(reads) == 2


def test_folders_of_another_kind_and_scans_with_label_maps(tmp_path, scans):
    with pytest.raises(UsageError, match="there is no scan to annotate"):
        AnnotatedFolder([], tmp_path / "out")
    write_json(tmp_path / "nnunet/dataset.json", {})
    with pytest.raises(UsageError, match="nnU-Net dataset"):
        AnnotatedFolder(scans, tmp_path / "nnunet")
    write_volume(draw(1), tmp_path / "one/image.nii.gz")
    with pytest.raises(UsageError, match="the folder of one scan"):
        AnnotatedFolder(scans, tmp_path / "one")
    write_volume(draw(1), tmp_path / "out/scan_1/image.nii.gz")
    (tmp_path / "out/scan_1/labels.nii.gz").touch()
    with AnnotatedFolder(scans, tmp_path / "out") as project:
        assert project.scan("scan_1").labelled
        with pytest.raises(UsageError, match="this label map marks the structures of scan_1"):
            project.place("scan_1", "liver", POINTS[0])
        with pytest.raises(UsageError, match="no scan 'scan_3' .did you mean"):
            project.place("scan_3", "liver", POINTS[0])
        with pytest.raises(MedlsamError, match="there is a structure 'liver' already"):
            project.add_structure(project.add_structure("liver").upper())


def test_clicks_in_an_oblique_scan_are_checked_in_its_own_voxels(tmp_path):
    grid = Grid(GRID.shape_zyx, GRID.spacing_xyz, GRID.origin_xyz, (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    write_volume(draw(1, grid), tmp_path / "scans/a.nii.gz")
    with AnnotatedFolder(find_cases(tmp_path / "scans"), tmp_path / "out") as project:
        corner = grid.corners()[0]
        assert project.place("a", "liver", corner).points == (tuple(corner),)
        with pytest.raises(GeometryError, match="outside of the scan"):
            project.place("a", "liver", grid.box.min)
