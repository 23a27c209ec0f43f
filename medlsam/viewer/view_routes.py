"""What the page of ``medlsam view`` asks for: the list, a scan's geometry, pictures of slices, outlines of masks."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from medlsam.errors import UsageError
from medlsam.export.run_results import RunResults, chosen, read_results
from medlsam.export.views import Plane
from medlsam.viewer.correct_routes import CorrectRoutes
from medlsam.viewer.corrections import Corrections
from medlsam.viewer.open_scans import OpenScans
from medlsam.viewer.outlines import Line, outlines, part_outlines
from medlsam.viewer.pictures import geometry, view_of
from medlsam.viewer.scan_routes import ScanPictures, windows
from medlsam.viewer.serve import PAGES

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM


class ViewPage:
    """The results of a run, for the page.

    Attributes:
        results: of the run.
        corrections: of its masks; None where they can only be looked at.
        scans: that are open.
    """

    def __init__(
        self, results: RunResults, corrections: Corrections | None = None, scans: OpenScans | None = None
    ) -> None:
        self.results, self.corrections = results, corrections
        self.scans = scans or OpenScans(results)

    def routes(self) -> list[Route]:
        """The routes of the page."""
        return [
            Route("/", self.page),
            Route("/api/run", self.run),
            Route("/api/case/{case:int}", self.case),
            *ScanPictures(lambda index: self.scans.image(index).canonical).routes(),
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
        grid = self.scans.image(index).canonical.grid
        # the box of a mask, where there is one
        centers = {
            entry.structure: list(entry.located.box.center)
            for entry in chosen(self.results.cases, index).entries
            if entry.located.box is not None
        }
        return JSONResponse({"geometry": geometry(grid), "centers": centers})

    def lines(self, request: Request) -> Response:
        """Give the outlines of all masks in a slice."""
        case, index = request.path_params["case"], request.path_params["index"]
        view = view_of(request.path_params["plane"])
        if self.corrections is not None and self.corrections.begun(case) and not self.corrections.ready(case):
            # The masks of the run would be wrong by now, and pictures must not wait for the right ones.
            return JSONResponse({"lines": None, "pending": "the corrections of this scan are made again ..."})
        labels = self.scans.labels(case)
        found = {} if labels is None else outlines(labels.canonical.array, view, index)
        by_name = {name: found.get(value, []) for name, value in self.results.values.items()}
        return JSONResponse({"lines": by_name | self._corrected(case, view, index)})

    def _corrected(self, case: int, view: Plane, index: int) -> dict[str, list[Line]]:
        """Outline the masks that were edited."""
        if self.corrections is None or not self.corrections.begun(case):
            return {}
        session = self.corrections.session(case)
        return {
            name: part_outlines(*session.mask(name), session.grid.shape_zyx, view, index)
            for name, state in session.structures.items()
            if state.edits
        }


def view_page(folder: str | Path, corrections: str | Path | None = None) -> ViewPage:
    """Make the page of a folder that ``segment`` wrote.

    Args:
        folder: see ``read_results``.
        corrections: where corrections are kept; ``<folder>/corrected`` where None.

    Raises:
        UsageError: see ``read_results``.
    """
    scans = OpenScans(read_results(folder))
    kept = Path(corrections or Path(folder) / "corrected")
    return ViewPage(scans.results, Corrections(scans, kept, _load), scans)


def _load() -> MedLSAM:
    from medlsam.pipeline.model import load

    return load()
