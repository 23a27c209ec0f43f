"""What the page of ``medlsam view`` asks for: the list, a scan's geometry, pictures of slices, outlines of masks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from medlsam.errors import GeometryError, UsageError
from medlsam.export.run_results import RunResults, chosen, read_results
from medlsam.geometry import Grid
from medlsam.io.cases import read_case
from medlsam.io.labels import read_label_map
from medlsam.viewer.correct_routes import CorrectRoutes
from medlsam.viewer.corrections import Corrections
from medlsam.viewer.outlines import Line, outlines, part_outlines
from medlsam.viewer.pictures import View, geometry, view_of
from medlsam.viewer.scan_routes import ScanPictures, windows
from medlsam.viewer.scans import Shelf, bytes_of
from medlsam.viewer.serve import PAGES
from medlsam.volume import Image, to_canonical

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A scan that is looked at, on its canonical grid.

    Attributes:
        image: HU.
        labels: (Z, Y, X) label values on the same grid; None where there are no masks.
    """

    image: Image
    labels: NDArray[np.generic] | None

    @property
    def grid(self) -> Grid:
        """The canonical grid."""
        return self.image.grid


class ViewPage:
    """The results of a run, for the page.

    Attributes:
        results: of the run.
        corrections: of its masks; None where they can only be looked at.
    """

    def __init__(self, results: RunResults, corrections: Corrections | None = None) -> None:
        self.results, self.corrections = results, corrections
        self._open = Shelf(self._read, lambda case: bytes_of(case.image.array, case.labels))

    def routes(self) -> list[Route]:
        """The routes of the page."""
        return [
            Route("/", self.page),
            Route("/api/run", self.run),
            Route("/api/case/{case:int}", self.case),
            *ScanPictures(lambda index: self._open.get(index).image).routes(),
            Route("/api/case/{case:int}/outlines/{plane}/{index:int}", self.lines),
            *([] if self.corrections is None else CorrectRoutes(self.corrections).routes()),
        ]

    def address_of(self, case: str) -> str:
        """Name a scan in the page's address; goes behind the token.

        Raises:
            UsageError: the run has no such scan.
        """
        names = [own.name for own in self.results.cases]
        if case not in names:
            close = difflib.get_close_matches(case, names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise UsageError(
                f"{self.results.folder}: the run has no scan {case!r}{hint}; it has {len(names)}"
            )
        return f"&{urlencode({'case': case})}"

    def page(self, request: Request) -> Response:
        """Give the page itself."""
        return FileResponse(PAGES / "view.html")

    def run(self, request: Request) -> Response:
        """Give the list of scans and structures, the most doubtful first."""
        return JSONResponse(
            {
                "name": self.results.folder.resolve().name,
                "values": dict(self.results.values),
                "windows": windows(),
                "correctable": self.corrections is not None,
                "cases": [case.to_dict() for case in self.results.cases],
            }
        )

    def case(self, request: Request) -> Response:
        """Open a scan: its geometry, and where each structure lies."""
        index = request.path_params["case"]
        opened = self._open.get(index)
        return JSONResponse({"geometry": geometry(opened.grid), "centers": self._centers(index, opened)})

    def lines(self, request: Request) -> Response:
        """Give the outlines of all masks in a slice."""
        opened = self._open.get(request.path_params["case"])
        view, index = view_of(request.path_params["plane"]), request.path_params["index"]
        found = {} if opened.labels is None else outlines(opened.labels, view, index)
        by_name = {name: found.get(value, []) for name, value in self.results.values.items()}
        return JSONResponse({"lines": by_name | self._corrected(request.path_params["case"], view, index)})

    def _corrected(self, case: int, view: View, index: int) -> dict[str, list[Line]]:
        """Outline the masks that were edited."""
        if self.corrections is None or not self.corrections.begun(case):
            return {}
        session = self.corrections.session(case)
        return {
            name: part_outlines(*session.mask(name), session.grid.shape_zyx, view, index)
            for name, state in session.structures.items()
            if state.edits
        }

    def _read(self, index: int) -> OpenCase:
        case = chosen(self.results.cases, index)
        if case.error:
            raise UsageError(f"{case.name}: {case.error}")
        image = to_canonical(read_case(case.scan))
        if not case.labels.is_file():
            return OpenCase(image, None)
        labels = to_canonical(read_label_map(case.labels))
        if not labels.grid.matches(image.grid):
            raise GeometryError(
                f"{case.name}: the scan {case.scan.path} no longer lies on the grid of {case.labels}; segment it again"
            )
        return OpenCase(image, labels.array)

    def _centers(self, index: int, opened: OpenCase) -> dict[str, list[float]]:
        """Structure to the middle of its mask's box, else of its located box, LPS mm."""
        centers = {}
        places = [] if opened.labels is None else ndimage.find_objects(opened.labels)
        for entry in chosen(self.results.cases, index).entries:
            value = self.results.values.get(entry.structure, 0)
            place = places[value - 1] if 0 < value <= len(places) else None
            if place is not None:
                middle = [(side.start + side.stop - 1) / 2 for side in place[::-1]]
                centers[entry.structure] = opened.grid.ijk_to_lps(middle).tolist()
            elif entry.located.box is not None:
                centers[entry.structure] = list(entry.located.box.center)
        return centers


def view_page(folder: str | Path, corrections: str | Path | None = None) -> ViewPage:
    """Make the page of a folder that ``segment`` wrote.

    Args:
        folder: see ``read_results``.
        corrections: where corrections are kept; ``<folder>/corrected`` where None.

    Raises:
        UsageError: see ``read_results``.
    """
    results = read_results(folder)
    return ViewPage(results, Corrections(results, corrections or Path(folder) / "corrected", _load))


def _load() -> MedLSAM:
    from medlsam.pipeline.model import load

    return load()
