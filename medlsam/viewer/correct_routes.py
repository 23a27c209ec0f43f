"""What the page of ``medlsam view`` asks for to correct masks, and to make use of the accepted ones."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from medlsam.errors import MedlsamError, UsageError
from medlsam.export.run_results import chosen
from medlsam.viewer.bodies import Behind, Body, box_of, point_of, text_of
from medlsam.viewer.corrections import Corrections
from medlsam.viewer.edits import state_of

#: Of the accepted scans one in so many is never trained on, and judges.
JUDGE_ONE_IN = 4
TEMPLATES_FILE, SEGMENTER_FILE = "templates.medlsam", "segmenter.safetensors"


class CorrectRoutes:
    """Edits of masks, and the two things that accepted masks are for.

    Attributes:
        corrections: of the run.
    """

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self._seen: Counter[int] = Counter()
        self._lock = Lock()
        self._job = Job()

    def routes(self) -> list[Route]:
        """The routes."""
        edits = ("box", "click", "clear", "absent", "undo", "redo", "accept", "unaccept")
        return [
            Route("/api/case/{case:int}/session", self.session),
            *(Route(f"/api/case/{{case:int}}/{name}", self._edit(name), methods=["POST"]) for name in edits),
            Route("/api/accepted", self.accepted),
            Route("/api/templates", self._started("templates", self._templates), methods=["POST"]),
            Route("/api/finetune", self._started("fine-tuning", self._finetune), methods=["POST"]),
            Route("/api/job", self.job),
        ]

    def session(self, request: Request) -> Response:
        """Begin to correct a scan, or go on with it."""
        return JSONResponse(self._state(request.path_params["case"]))

    def accepted(self, request: Request) -> Response:
        """Name the scans with accepted masks, and where they lie."""
        return JSONResponse({"folder": str(self.corrections.folder), "cases": self.corrections.accepted})

    def job(self, request: Request) -> Response:
        """Say how the work in the background stands."""
        return JSONResponse(self._job.state())

    def _state(self, index: int) -> dict[str, Any]:
        return {"structures": state_of(self.corrections.session(index)), "seen": self._seen[index]}

    def _edit(self, action: str) -> Callable[[Request], Any]:
        def changed(index: int, body: Body) -> dict[str, Any]:
            case = chosen(self.corrections.results.cases, index)
            structure = text_of(body, "structure")
            what: dict[str, Any] = {}
            if action == "box":
                what = {"box": box_of(body).to_dict()}
            elif action == "click":
                what = {"point": point_of(body), "inside": bool(body.get("inside", True))}
            with self._lock:
                if body.get("seen") != self._seen[index]:
                    raise Behind(case.name)
                answer: dict[str, Any] = {}
                if action in ("accept", "unaccept"):
                    self.corrections.accept(index, structure, action == "accept")
                else:
                    made = self.corrections.edit(index, structure, action, what)
                    answer = {"slices": list(made.slices), "seconds": round(made.seconds, 3)}
                self._seen[index] += 1
                return {**answer, **self._state(index)}

        async def handle(request: Request) -> Response:
            index, body = request.path_params["case"], json.loads(await request.body())
            try:
                return JSONResponse(await run_in_threadpool(changed, index, body))
            except Behind as behind:
                newer = await run_in_threadpool(self._state, index)
                return JSONResponse({"error": str(behind), **newer}, status_code=409)

        return handle

    def _started(
        self, name: str, work: Callable[[Callable[[str], None]], str]
    ) -> Callable[[Request], Response]:
        """Make the handler that begins work in the background."""

        def start(request: Request) -> Response:
            self._job.start(name, work)
            return JSONResponse(self._job.state())

        return start

    def _templates(self, say: Callable[[str], None]) -> str:
        folder = self.corrections.folder
        if not self.corrections.accepted:
            raise UsageError("no mask is accepted yet; accept some first")
        built = self.corrections.model.templates(folder, on_progress=say)
        file = folder / TEMPLATES_FILE
        built.save(file)
        return (
            f"wrote {file} from {len(self.corrections.accepted)} scans: medlsam segment --support {file} ..."
        )

    def _finetune(self, say: Callable[[str], None]) -> str:
        from medlsam.segment.finetune.run import finetune

        names = self.corrections.accepted
        judges = [name for name in names if judges_it(name)]
        if len(names) - len(judges) < 2 or not judges:
            raise UsageError(
                f"{len(names)} scans are accepted: fine-tuning needs two to train on and one that judges (one in "
                f"{JUDGE_ONE_IN}, chosen by its name); correct and accept more"
            )
        file = self.corrections.folder / SEGMENTER_FILE
        done = finetune(
            self.corrections.folder, file, cases=names, held_out=judges, cycle=True, on_progress=say
        )
        assert done.held_out is not None
        before, after = done.held_out.patients.before[0], done.held_out.patients.after[0]
        words = (
            f"Dice of {len(judges)} scans that were not trained on: {before:.3f} before, {after:.3f} after"
        )
        if not done.replaced:
            return f"{words}; this cycle is not better, so nothing is replaced"
        return f"{words}; wrote {file}: medlsam segment --segmenter {file} ..."


def judges_it(name: str) -> bool:
    """Whether a scan judges and is never trained on: by its name alone, so that it stays so over all cycles."""
    return zlib.crc32(name.encode()) % JUDGE_ONE_IN == 0


class Job:
    """One piece of work in the background at a time, and what it says of itself."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._state: dict[str, Any] = {"name": "", "running": False, "text": "", "failed": False}

    def state(self) -> Mapping[str, Any]:
        """Its name, whether it runs, its last words, and whether it failed."""
        with self._lock:
            return dict(self._state)

    def start(self, name: str, work: Callable[[Callable[[str], None]], str]) -> None:
        """Begin.

        Raises:
            UsageError: another one runs.
        """
        with self._lock:
            if self._state["running"]:
                raise UsageError(f"{self._state['name']} still runs; wait for its end")
            self._state = {"name": name, "running": True, "text": "begun", "failed": False}
        Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[Callable[[str], None]], str]) -> None:
        try:
            text, failed = work(self._say), False
        except MedlsamError as error:
            text, failed = str(error), True
        except Exception as error:
            text, failed = f"{type(error).__name__}: {error}", True
        with self._lock:
            self._state |= {"running": False, "text": text, "failed": failed}

    def _say(self, text: str) -> None:
        with self._lock:
            self._state["text"] = text
