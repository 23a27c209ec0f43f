"""What NiiVue is given: voxels and affine in RAS, colours and names; and what it is told after an edit."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
import pytest

from medlsam.export.anatomy import colour_of
from medlsam.export.notebook.cells import Table
from medlsam.export.notebook.niivue import NiiVuePanel, nifti, place
from medlsam.export.notebook.shown import shown_localization, shown_segmentation
from medlsam.geometry import Grid
from medlsam.volume import Image, LabelMap
from medlsam.windows import WINDOWS
from tests.export.notebook.made import GRID, NAMES, localization, nibabels, segmentation, stored, upright
from tests.support.data.orientations import ORIENTATIONS
from tests.support.fakes.widgets import fake_ipyniivue, fake_ipywidgets

TABLE = Table("made", ("structure",), (("liver",), ("kidney_left",)))


def read(data: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))


def panel(shown: Any = None, window: str = "soft-tissue") -> NiiVuePanel:
    shown = shown or shown_segmentation(segmentation(), None, TABLE)
    return NiiVuePanel(fake_ipyniivue(), fake_ipywidgets(), shown, window)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_voxels_lie_as_in_nibabels_canonical_form(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    hu, labels = upright()
    made = replace(
        segmentation(), image=Image(*stored(hu, order, signs)), labels=LabelMap(*stored(labels, order, signs))
    )
    scan, overlay = panel(shown_segmentation(made, None, TABLE)).viewer.volumes
    for volume, array in ((scan, hu), (overlay, np.select([labels == 3, labels == 700], [1, 2]))):
        wanted = nibabel.as_closest_canonical(nibabels(array.astype(np.int16)))
        got = read(volume.data)
        assert nibabel.aff2axcodes(got.affine) == ("R", "A", "S")
        assert np.allclose(got.affine, wanted.affine, atol=1e-4)
        assert np.array_equal(np.asarray(got.dataobj), np.asarray(wanted.dataobj))
    assert (read(scan.data).header["qform_code"], read(scan.data).header["sform_code"]) == (1, 1)


def test_types_of_voxels() -> None:
    grid = Grid((1, 1, 2))
    for array, kind in (
        (np.array([[[-1024, 3071]]], np.int32), np.int16),
        (np.array([[[0, 40000]]], np.int32), np.float32),
        (np.array([[[0.25, 1]]], np.float64), np.float32),
    ):
        made = segmentation()
        labels = LabelMap(np.zeros(array.shape, np.uint8), grid)
        shown = shown_segmentation(replace(made, image=Image(array, grid), labels=labels), None, TABLE)
        got = read(panel(shown).viewer.volumes[0].data)
        assert got.get_data_dtype() == kind
        # RAS: the voxel that lies farther to the left comes first.
        assert np.asarray(got.dataobj).ravel().tolist() == array.ravel()[::-1].tolist()


def test_colours_names_and_window() -> None:
    made = panel(window="lung")
    scan, overlay = made.viewer.volumes
    table = overlay.colormap_label
    assert table.labels == ["", *NAMES.values()]
    assert (table.min, table.max) == (0, 2)
    assert table.lut == [0, 0, 0, 0, *colour_of("liver"), 255, *colour_of("kidney_left"), 255]
    assert (scan.cal_min, scan.cal_max) == (WINDOWS["lung"].low, WINDOWS["lung"].high)
    assert made.viewer.is_radiological_convention
    assert made.viewer.sagittal_nose_left
    made.set_window("bone")
    assert (scan.cal_min, scan.cal_max) == (WINDOWS["bone"].low, WINDOWS["bone"].high)


def test_planes_cross_in_the_structures() -> None:
    made = panel()
    x, y, z = np.asarray(made.viewer.scene.crosshair_pos) * GRID.shape_zyx[::-1] - 0.5
    # RAS counts from the other end along x and y.
    assert made.shown.labels[round(z), 5 - round(y), 6 - round(x)] == 1


def test_a_place_is_told_in_lps() -> None:
    made = panel()
    point = GRID.ijk_to_lps([6, 4, 3])
    made.viewer.told[0]({"mm": [-point[0], -point[1], point[2], 1.0]})
    value = upright()[0][3, 4, 6]
    assert made._place.value == f"x -11.0, y 18.0, z 312.0 mm (LPS): {value} HU, kidney_left"
    assert place(made.shown, (1e4, 0.0, 0.0)).endswith("mm (LPS)")


def test_an_edit_before_it_is_displayed_sends_the_labels_anew() -> None:
    made = panel()
    scan, before = made.viewer.volumes
    _, labels = upright()
    made.update(made.shown.with_labels(LabelMap(labels * (labels == 700), GRID), NAMES, TABLE))
    assert made.viewer.volumes[0] is scan
    assert made.viewer.volumes[1] is not before
    assert before.comm is None
    assert set(np.unique(read(made.viewer.volumes[1].data).dataobj)) == {0, 2}


def test_an_edit_after_it_is_displayed_sends_voxels_in_the_files_order() -> None:
    made = panel()
    overlay = made.viewer.volumes[1]
    overlay.img = np.asarray(read(overlay.data).dataobj).ravel(order="F")  # as the browser tells it
    _, labels = upright()
    labels[0, 0, 0] = 800
    made.update(made.shown.with_labels(LabelMap(labels, GRID), NAMES | {800: "cyst"}, TABLE))
    assert made.viewer.volumes[1] is overlay
    assert overlay.img.reshape(7, 6, 5, order="F")[6, 5, 0] == 3  # the last along R and A, the first along S
    assert overlay.colormap_label.labels == ["", *NAMES.values(), "cyst"]


def test_boxes_are_sent_as_their_faces() -> None:
    overlay = panel(shown_localization(localization(), None, TABLE)).viewer.volumes[1]
    assert set(np.unique(read(overlay.data).dataobj)) == {0, 1, 2}


def test_the_library_takes_what_it_is_given() -> None:
    library = pytest.importorskip("ipyniivue", reason="needs the extra niivue")
    widgets = pytest.importorskip("ipywidgets", reason="needs the extra niivue")
    made = NiiVuePanel(library, widgets, shown_segmentation(segmentation(), None, TABLE), "liver")
    scan, overlay = made.viewer.volumes
    assert overlay.get_state()["colormap_label"]["labels"] == ["", *NAMES.values()]
    assert (scan.cal_min, scan.cal_max) == (-20.0, 140.0)
    assert made.viewer.get_state()["opts"]["isRadiologicalConvention"] is True
    made.update(made.shown)
    assert made.viewer.volumes[1] is not overlay
    held = made.viewer.volumes[1]
    held.img = np.asarray(read(held.data).dataobj).ravel(order="F")
    sent: list[Any] = []
    held.send = lambda content, buffers=None: sent.append((content, buffers))
    _, labels = upright()
    made.update(made.shown.with_labels(LabelMap(labels * (labels == 700), GRID), NAMES, TABLE))
    assert [content["type"] for content, _ in sent] == ["buffer_update"]
    assert len(np.frombuffer(sent[0][1][0], np.uint32)) == np.count_nonzero(labels == 3)
    assert nifti(made.shown.labels, GRID)[:2] == b"\x1f\x8b"
