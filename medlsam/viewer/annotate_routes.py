"""What the page of ``medlsam annotate`` asks for, and its changes: each is saved before it is answered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from medlsam.errors import UsageError
from medlsam.viewer.annotate.marks import FACE_WORDS
from medlsam.viewer.annotate.project import AnnotationProject
from medlsam.viewer.bodies import Behind, Body, number, point_of, text_of, which_of
from medlsam.viewer.pictures import geometry
from medlsam.viewer.scan_routes import ScanPictures, windows
from medlsam.viewer.scans import Shelf, bytes_of
from medlsam.viewer.serve import PAGES
from medlsam.volume import Image, to_canonical

#: Name of the template file that the page builds, in the templates folder.
TEMPLATES_FILE = "templates.medlsam"


class AnnotatePage:
    """Templates in the making, for the page.

    A change says which state of the scan its tab has seen (``seen``): one from a tab that is behind is refused, and the
    tab shows the newer state.

    Attributes:
        project: the templates folder.
    """

    def __init__(self, project: AnnotationProject) -> None:
        self.project = project
        self._images: Shelf[str, Image] = Shelf(
            lambda case: to_canonical(project.image(case)), lambda image: bytes_of(image.array)
        )
        self._changes: Counter[str] = Counter()
        self._lock = Lock()

    def routes(self) -> list[Route]:
        """The routes of the page."""
        edits: dict[str, Callable[[str, Body], object]] = {
            "place": lambda case, body: self.project.place(
                case, text_of(body, "structure"), point_of(body), body.get("face")
            ),
            "move_face": lambda case, body: self.project.move_face(
                case,
                text_of(body, "structure"),
                text_of(body, "face"),
                number(body.get("position"), "position"),
            ),
            "remove_point": lambda case, body: self.project.remove_point(
                case, text_of(body, "structure"), which_of(body)
            ),
            "remove": lambda case, body: self.project.remove(case, text_of(body, "structure")),
            "absent": lambda case, body: self.project.mark_absent(case, text_of(body, "structure")),
            "accept": lambda case, body: self.project.accept(case, text_of(body, "structure")),
            "undo": lambda case, body: self.project.undo(case),
            "redo": lambda case, body: self.project.redo(case),
        }
        return [
            Route("/", self.page),
            Route("/api/project", self.state),
            Route("/api/case/{case:int}", self.case),
            *ScanPictures(lambda index: self._images.get(self._case(index))).routes(),
            *(
                Route(f"/api/case/{{case:int}}/{name}", self._edit(change), methods=["POST"])
                for name, change in edits.items()
            ),
            Route("/api/case/{case:int}/propose", self._posted(self._propose), methods=["POST"]),
            Route("/api/structure", self._posted(self._add), methods=["POST"]),
            Route("/api/rename", self._posted(self._rename), methods=["POST"]),
            Route("/api/agreement", self._posted(self._agreement), methods=["POST"]),
            Route("/api/build", self._posted(self._build), methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        """Give the page itself."""
        return FileResponse(PAGES / "annotate.html")

    def state(self, request: Request) -> Response:
        """Give the scans with their answers, and the structures."""
        return JSONResponse(
            {
                "name": self.project.output.resolve().name,
                "output": str(self.project.output),
                "faces": FACE_WORDS,
                "windows": windows(),
                "structures": list(self.project.structures),
                "cases": [self._answers(case) for case in self.project.cases],
            }
        )

    def case(self, request: Request) -> Response:
        """Open a scan: its geometry and its answers."""
        case = self._case(request.path_params["case"])
        return JSONResponse(
            {"geometry": geometry(self._images.get(case).grid), "answers": self._answers(case)}
        )

    def _case(self, index: int) -> str:
        cases = self.project.cases
        if not 0 <= index < len(cases):
            raise UsageError(f"there is no scan {index}; the list has {len(cases)}")
        return cases[index]

    def _answers(self, case: str) -> dict[str, Any]:
        return {**self.project.scan(case).to_dict(), "seen": self._changes[case]}

    def _edit(self, change: Callable[[str, Body], object]) -> Callable[[Request], Any]:
        """Make the handler of a change to one scan."""

        def changed(request: Request, body: Body) -> dict[str, Any]:
            case = self._case(request.path_params["case"])
            with self._lock:
                if body.get("seen") != self._changes[case]:
                    raise Behind(case)
                change(case, body)
                self._changes[case] += 1
                return {"answers": self._answers(case), "structures": list(self.project.structures)}

        return self._posted(changed)

    def _posted(self, work: Callable[[Request, Body], dict[str, Any]]) -> Callable[[Request], Any]:
        """Make the handler of a request with a document; the work runs beside the server's own loop."""

        async def handle(request: Request) -> Response:
            body = json.loads(await request.body())
            try:
                return JSONResponse(await run_in_threadpool(work, request, body))
            except Behind as behind:
                newer = await run_in_threadpool(self._answers, behind.case)
                return JSONResponse({"error": str(behind), "answers": newer}, status_code=409)

        return handle

    def _propose(self, request: Request, body: Body) -> dict[str, Any]:
        case = self._case(request.path_params["case"])
        wanted = body.get("structures")
        found = self.project.propose(case, None if wanted is None else [str(name) for name in wanted])
        return {"proposals": {name: proposal.to_dict() for name, proposal in found.items()}}

    def _add(self, request: Request, body: Body) -> dict[str, Any]:
        return {
            "name": self.project.add_structure(text_of(body, "name")),
            "structures": list(self.project.structures),
        }

    def _rename(self, request: Request, body: Body) -> dict[str, Any]:
        with self._lock:
            name = self.project.rename_structure(text_of(body, "old"), text_of(body, "new"))
            for case in self.project.cases:
                self._changes[case] += 1
        return {"name": name, "structures": list(self.project.structures)}

    def _agreement(self, request: Request, body: Body) -> dict[str, Any]:
        return self.project.agreement().to_dict()

    def _build(self, request: Request, body: Body) -> dict[str, Any]:
        file = self.project.output / TEMPLATES_FILE
        built = self.project.build(file)
        return {"file": str(file), "structures": list(built.templates.structures), "notes": built.notes}
