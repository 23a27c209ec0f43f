"""``medlsam annotate`` in a real browser: where clicks land, and the whole way from clicks to a segmented scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import medlsam
from medlsam.batch import segment_folder
from medlsam.geometry import ExtremePoints, Grid
from medlsam.io.cases import find_cases
from medlsam.io.labels import read_label_map
from medlsam.io.slicer_markups import read_markups
from medlsam.io.write import write_volume
from medlsam.measure.metrics import dice
from medlsam.viewer.annotate.agreement import Agreement
from medlsam.viewer.annotate.project import AnnotationProject
from medlsam.viewer.annotate.proposals import Proposal
from medlsam.viewer.annotate_routes import AnnotatePage
from medlsam.volume import Image
from tests.support.data.orientations import ORIENTATIONS, direction_of, oblique
from tests.support.web.browser import Tab, browser
from tests.support.web.clicking import add, open_scan, place_all
from tests.support.web.served import Client, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class WithoutModel(AnnotationProject):
    """Where only clicks count, nothing is located."""

    def propose(self, case: str, structures: Sequence[str] | None = None) -> dict[str, Proposal]:
        return {}

    def agreement(self) -> Agreement:
        return Agreement()


@contextmanager
def annotating(
    scans: Path, output: Path, kind: type[AnnotationProject] = AnnotationProject
) -> Iterator[tuple[Client, Tab]]:
    with (
        kind(find_cases(scans), output) as project,
        served([*AnnotatePage(project).routes()]) as client,
        browser() as tab,
    ):
        tab.page.goto(client.server.url)
        tab.shown()
        yield client, tab
        assert tab.complaints == []


def test_clicks_land_where_they_were_made_in_every_orientation(
    tmp_path: Path, make_ct: Callable[..., Image]
) -> None:
    """The 48 axis orders and an oblique scan: six clicks at known places, read back from the file."""
    rng = np.random.default_rng(0)
    directions = {
        f"{''.join(map(str, order))}{''.join('-+'[s > 0] for s in signs)}": direction_of(order, signs)
        for order, signs in ORIENTATIONS
    }
    for name, direction in (directions | {"oblique": oblique(20)}).items():
        grid = Grid((20, 24, 28), (3.0, 4.0, 5.0), (10.0, -30.0, 50.0), direction)
        write_volume(make_ct(grid), tmp_path / "in" / f"{name}.nii.gz")
    wanted = {}
    with annotating(tmp_path / "in", tmp_path / "out", WithoutModel) as (_, tab):
        add(tab, "thing")
        for name in [*directions, "oblique"]:
            pointer = open_scan(tab, name)
            shape, origin, spacing = (
                np.array(pointer.geometry[key], float) for key in ("shape", "origin", "spacing")
            )
            # whole voxels inside of the scan, far enough apart to span a box
            low, high = np.floor(shape * 0.3), np.floor(shape * 0.65)
            ijk = np.tile((low + high) // 2, (6, 1)) + rng.integers(-1, 2, (6, 3))
            for k in range(6):
                ijk[k, k // 2] = (low, high)[k % 2][k // 2]
            wanted[name] = (
                ExtremePoints(tuple(tuple(p) for p in (origin + ijk * spacing).tolist())),
                spacing,
            )
            place_all(tab, pointer, wanted[name][0])
    assert len(wanted) == 49
    worst = 0.0
    for name, (points, spacing) in wanted.items():
        found = read_markups(tmp_path / "out" / name / "extreme_points.mrk.json")["thing"]
        worst = max(worst, float(np.abs((found.array - points.array) / spacing).max()))
    assert worst <= 1, "voxels of the scan"


def test_from_clicks_to_a_segmented_scan(tmp_path: Path) -> None:
    """Two structures in three scans by clicks, templates of them, and a fourth scan segmented with these."""
    structures, truth = ("liver", "spleen"), {}
    for number in range(4):
        made = medlsam.phantom(number, (5, 5, 5), (300, 480), fov_mm=380)
        folder = tmp_path / ("in" if number < 3 else "new")
        write_volume(made.image, folder / f"patient_{number}.nii.gz")
        values = {name: value for value, name in made.names.items()}
        truth[number] = {name: (made.labels.array == values[name], made.labels.grid) for name in structures}
    with annotating(tmp_path / "in", tmp_path / "templates") as (client, tab):
        for name in structures:
            add(tab, name)
        for number in range(3):
            pointer = open_scan(tab, f"patient_{number}")
            for name in structures:
                tab.page.locator("#structures button", has_text=name).click()
                place_all(tab, pointer, ExtremePoints.from_mask(*truth[number][name]))
            tab.page.locator("#cases li.chosen", has_text="done").wait_for()
        tab.page.locator("#agreement li").first.wait_for()
        tab.page.click("#build")
        tab.page.locator("#message", has_text="wrote").wait_for(timeout=120_000)
        answer = client.ask("/api/project").json()
        assert all(case["done"] for case in answer["cases"])
    labels = json.loads((tmp_path / "templates" / "labels.json").read_text())
    assert set(labels) == set(structures)
    model = medlsam.load(device="cpu")
    templates = model.templates(tmp_path / "templates" / "templates.medlsam")
    segment_folder(model, templates, tmp_path / "new", tmp_path / "out", report=False)
    found = read_label_map(tmp_path / "out" / "patient_3" / "segmentation.nii.gz")
    for name in structures:
        assert dice(found.array == labels[name], truth[3][name][0]) > 0.6, name
