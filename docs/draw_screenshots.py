"""Photograph the pages of ``medlsam annotate`` and ``medlsam view``, served as to users, with phantoms in them.

    python docs/draw_screenshots.py [--output docs/images]

A minute on one core; needs Chromium (``apt-get install chromium``, or ``MEDLSAM_CHROMIUM``) and Playwright (the extra
``dev``). ``annotate.png`` and ``view.png`` are of a desktop, ``annotate-phone.png`` and ``view-phone.png`` of a phone
that is 400 pixels wide. A page that complains in its console, or is wider than the phone, is an error.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image

import medlsam
from medlsam.batch import segment_folder
from medlsam.geometry import FACES
from medlsam.io.cases import find_cases
from medlsam.runtime.atomic_files import atomic_path
from medlsam.viewer.annotate.project import AnnotationProject
from medlsam.viewer.annotate_routes import TEMPLATES_FILE, AnnotatePage
from medlsam.viewer.view_routes import view_page

# The browser is that of the tests, before the package of that name that rt-utils installs.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.web.browser import Tab, browser
from tests.support.web.served import served

BODY: dict[str, Any] = {"spacing_xyz": (3.0, 3.0, 3.0), "region": (260.0, 560.0)}
TEMPLATE_SEEDS, SCAN_SEEDS = (101, 102, 103), (201, 202)
STRUCTURES = ("liver", "spleen", "kidney_left")
#: The last structure of the last scan is shown half done: with so many points.
PLACED = 3
DESKTOP: dict[str, Any] = {"width": 1280, "height": 800}
PHONE: dict[str, Any] = {"width": 400, "height": 860, "phone": True}
#: Of the pictures' palette: slices are grey, lines and buttons have few colours, and a quarter of the bytes is left.
GREYS, COLOURS = 128, 128


class Drawn:
    """Three people to mark, two to find the structures in, and what was found.

    Attributes:
        scans: folder of the people to mark.
        templates: folder that they are marked in.
        found: output folder of the other two.
    """

    def __init__(self, folder: Path) -> None:
        self.scans, self.templates, self.found = folder / "scans", folder / "templates", folder / "found"
        people = {f"person_{seed}": medlsam.phantom(seed, **BODY) for seed in TEMPLATE_SEEDS}
        for name, person in people.items():
            medlsam.write_volume(person.image, self.scans / f"{name}.nii.gz")
        with self.project() as project:
            for structure in STRUCTURES:
                project.add_structure(structure)
            for name, person in people.items():
                for structure in STRUCTURES:
                    last = name == list(people)[-1] and structure == STRUCTURES[-1]
                    _mark(project, name, person, structure, PLACED if last else len(FACES))
            project.build(self.templates / TEMPLATES_FILE)
        for seed in SCAN_SEEDS:
            medlsam.write_volume(medlsam.phantom(seed, **BODY).image, folder / "new" / f"scan_{seed}.nii.gz")
        model = medlsam.load(device="cpu", precision="float32")
        templates = model.templates(self.templates / TEMPLATES_FILE)
        segment_folder(model, templates, folder / "new", self.found, report=False)

    def project(self) -> AnnotationProject:
        """The templates in the making."""
        return AnnotationProject(find_cases(self.scans), self.templates)


def _mark(project: AnnotationProject, name: str, person: Any, structure: str, count: int) -> None:
    """Place extreme points of the true mask."""
    (value,) = (value for value, known in person.names.items() if known == structure)
    points = medlsam.ExtremePoints.from_mask(person.labels.array == value, person.labels.grid)
    # from below to above first, as the page asks for them
    for face in sorted(FACES, reverse=True)[:count]:
        project.place(name, structure, points.array[FACES.index(face)].tolist(), face)


@contextmanager
def annotating(drawn: Drawn, size: dict[str, Any]) -> Iterator[Tab]:
    """The page of ``medlsam annotate``, at the structure that is half done."""
    with (
        drawn.project() as project,
        served([*AnnotatePage(project).routes()]) as client,
        browser(**size) as tab,
    ):
        tab.page.goto(client.server.url)
        tab.page.locator("#structures button", has_text=STRUCTURES[-1]).click()
        tab.page.locator("#notes li").first.wait_for()
        yield tab


@contextmanager
def viewing(drawn: Drawn, size: dict[str, Any]) -> Iterator[Tab]:
    """The page of ``medlsam view``, with a box that can be dragged and a click that was made."""
    with served([*view_page(drawn.found).routes()]) as client, browser(**size) as tab:
        tab.page.goto(client.server.url)
        tab.page.locator("#structures button", has_text="liver").click()
        tab.page.click("#mode-box")
        tab.page.locator("#undo").wait_for()
        tab.page.locator("#message", has_text="getting ready").wait_for(state="detached", timeout=60_000)
        yield tab


def photograph(tab: Tab) -> bytes:
    """PNG of what the window shows.

    Raises:
        RuntimeError: the page complained, or is wider than the window.
    """
    for plane in ("axial", "coronal", "sagittal"):
        tab.shown(plane)
    # Where a phone's page is scrolled to is chance otherwise.
    tab.page.evaluate("document.getElementById('planes').scrollIntoView()")
    tab.page.wait_for_load_state("networkidle")
    tab.page.wait_for_timeout(300)
    wide, window = tab.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    if tab.complaints or wide > window:
        raise RuntimeError(f"{tab.complaints}; the page is {wide} pixels wide, the window {window}")
    picture = PIL.Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")
    made = io.BytesIO()
    picture.quantize(palette=_palette(picture), dither=PIL.Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def _palette(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Greys and the commonest colours: any palette made of boxes of colours mixes the thin lines with the greys."""
    counted: Any = picture.getcolors(picture.width * picture.height)
    coloured = [colour for _, colour in sorted(counted, reverse=True) if max(colour) - min(colour) > 2]
    greys = [(round(level * 255 / (GREYS - 1)),) * 3 for level in range(GREYS)]
    made = PIL.Image.new("P", (1, 1))
    made.putpalette([value for colour in (*greys, *coloured[:COLOURS]) for value in colour])
    return made


def draw_all(output: Path) -> None:
    """Write every picture into a folder."""
    pages: dict[str, Callable[..., Any]] = {"annotate": annotating, "view": viewing}
    with tempfile.TemporaryDirectory() as folder:
        drawn = Drawn(Path(folder))
        for name, page in pages.items():
            for ending, size in (("", DESKTOP), ("-phone", PHONE)):
                with page(drawn, size) as tab, atomic_path(output / f"{name}{ending}.png") as temporary:
                    temporary.write_bytes(photograph(tab))
                print(output / f"{name}{ending}.png", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", metavar="DIR")
    draw_all(parser.parse_args().output)
