"""What the page of ``medlsam view`` asks for: the list, a scan's geometry, pictures of slices, outlines of masks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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
from medlsam.viewer.outlines import outlines
from medlsam.viewer.pictures import geometry, png, slice_of, view_of
from medlsam.viewer.scans import Shelf, bytes_of
from medlsam.viewer.serve import PAGES
from medlsam.volume import Image, to_canonical
from medlsam.windows import WINDOWS

#: Windows that have a button, in this order.
BUTTONS = ("soft-tissue", "lung", "bone", "liver", "mediastinum")
#: Pictures stay in the browser as long as the page: a scan does not change under its address.
_KEEP = {"Cache-Control": "private, max-age=3600"}


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
    """

    def __init__(self, results: RunResults) -> None:
        self.results = results
        self._open = Shelf(self._read, lambda case: bytes_of(case.image.array, case.labels))

    def routes(self) -> list[Route]:
        """The routes of the page."""
        return [
            Route("/", self.page),
            Route("/api/run", self.run),
            Route("/api/case/{case:int}", self.case),
            Route("/api/case/{case:int}/slice/{plane}/{index:int}", self.picture),
            Route("/api/case/{case:int}/outlines/{plane}/{index:int}", self.lines),
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
                "cases": [case.to_dict() for case in self.results.cases],
            }
        )

    def case(self, request: Request) -> Response:
        """Open a scan: its geometry, and where each structure lies."""
        index = request.path_params["case"]
        opened = self._open.get(index)
        return JSONResponse({"geometry": geometry(opened.grid), "centers": self._centers(index, opened)})

    def picture(self, request: Request) -> Response:
        """Give a slice as a picture, in a window of HU."""
        opened = self._open.get(request.path_params["case"])
        view = view_of(request.path_params["plane"])
        plane = slice_of(opened.image.array, view, request.path_params["index"])
        low, high = (number(request.query_params.get(name), name) for name in ("low", "high"))
        return Response(png(plane, low, high), media_type="image/png", headers=_KEEP)

    def lines(self, request: Request) -> Response:
        """Give the outlines of all masks in a slice."""
        opened = self._open.get(request.path_params["case"])
        view, index = view_of(request.path_params["plane"]), request.path_params["index"]
        found = {} if opened.labels is None else outlines(opened.labels, view, index)
        return JSONResponse({"lines": {str(value): own for value, own in found.items()}})

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


def windows() -> list[dict[str, Any]]:
    """Describe the windows that have a button."""
    return [{"name": name, "low": WINDOWS[name].low, "high": WINDOWS[name].high} for name in BUTTONS]


def number(text: str | None, name: str) -> float:
    """Read a number of an address.

    Raises:
        UsageError: it is none.
    """
    try:
        return float(text or "")
    except ValueError as error:
        raise UsageError(f"{name}: a number is needed, got {str(text)[:40]!r}") from error


def view_page(folder: str | Path) -> ViewPage:
    """Make the page of a folder that ``segment`` wrote; see ``read_results``."""
    return ViewPage(read_results(folder))
