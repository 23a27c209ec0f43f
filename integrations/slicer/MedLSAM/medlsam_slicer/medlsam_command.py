"""The command line of medlsam as the Slicer module uses it: how it is called, what it left, what to tell the user.

Nothing here needs Slicer or imports medlsam: medlsam lives in a Python of its own. Slicer ships Python 3.9.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

#: The name of the exported scan, so of its results: one scan at a time.
CASE = "scan"
AnyPath = Union[str, "os.PathLike[str]"]


class CommandError(Exception):
    """What went wrong, in words for the user."""


@dataclass(frozen=True)
class Result:
    """What a run left for the one scan.

    Attributes:
        folder: with the files of the scan.
        structures: all that the templates hold.
        status: structure to its status.
        warnings: of the run and of the scan.
    """

    folder: Path
    structures: tuple[str, ...]
    status: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def segmentation(self) -> Path:
        """The file to load: with names and colours where it was written, else the label map."""
        named = self.folder / "segmentation.seg.nrrd"
        return named if named.is_file() else self.folder / "segmentation.nii.gz"

    @property
    def markups(self) -> list[Path]:
        """The files of points and boxes that are there."""
        return [path for name in ("points", "boxes") if (path := self.folder / f"{name}.mrk.json").is_file()]


def find_program(chosen: str = "", which: Callable[[str], str | None] = shutil.which) -> str:
    """The program: as chosen in the settings, else as found on PATH.

    Raises:
        CommandError: it is not there.
    """
    wanted = chosen.strip() or "medlsam"
    found = which(os.path.expanduser(wanted))
    if found is None:
        raise CommandError(
            f"The program {wanted!r} was not found. Install medlsam in a Python of its own (not Slicer's) and choose "
            "its program: it lies in that environment's folder bin (on Windows: Scripts)."
        )
    return found


def split_names(text: str) -> list[str]:
    """Names between commas; none for an empty text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def segment_command(
    program: str,
    support: str,
    image: AnyPath,
    output: AnyPath,
    *,
    structures: Iterable[str] = (),
    device: str = "auto",
    boxes: AnyPath | None = None,
) -> list[str]:
    """The command, word by word, so that no shell looks at it.

    Args:
        program: from ``find_program``.
        support: a template file or a templates folder.
        image: the exported scan.
        output: the folder to write to.
        structures: only these; all of the templates' where empty.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        boxes: a folder or file of boxes to segment in, instead of locating.

    Raises:
        CommandError: no templates are chosen, or they are not there.
    """
    if not support.strip():
        raise CommandError("Choose the templates: a .medlsam file or a templates folder.")
    if not Path(support).exists():
        raise CommandError(f"The templates {support} are not there.")
    command = [program, "segment", "--support", str(support), "--images", os.fspath(image)]
    command += ["--output", os.fspath(output), "--format", "slicer", "--device", device]
    names = list(structures)
    if names:
        command += ["--organs", ",".join(names)]
    if boxes is not None:
        command += ["--boxes", os.fspath(boxes)]
    return command


def read_result(output: AnyPath, exit_code: int, lines: Sequence[str] = ()) -> Result:
    """What a run left in its folder.

    Args:
        output: of the run.
        exit_code: of the program.
        lines: what it printed.

    Raises:
        CommandError: the call was wrong (2), the scan failed (1), or the program ended otherwise; with its reason.
    """
    if exit_code not in (0, 1):
        raise CommandError(_last_words(lines) or f"medlsam ended with exit code {exit_code}.")
    try:
        run = json.loads((Path(output) / "run.json").read_text(encoding="utf-8"))
        record = run["cases"][CASE]
        structures = tuple(run["templates"]["organs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{output}: run.json cannot be read ({error!r}). {_last_words(lines)}".strip()
        ) from error
    if record["status"] != "done":
        raise CommandError(str((record.get("error") or {}).get("text") or _last_words(lines)))
    folder = Path(output) / CASE
    warnings = [*run.get("warnings", []), *record.get("warnings", [])]
    return Result(folder, structures, _status(folder), tuple(str(warning) for warning in warnings))


def write_boxes(saved: Iterable[tuple[str, AnyPath]], target: AnyPath) -> None:
    """Put boxes that Slicer saved one by one into one file, with the names that it left out.

    Args:
        saved: name of a structure, and the file with its one ROI.
        target: ``boxes.mrk.json`` to write.

    Raises:
        CommandError: no boxes, two of one structure, or a file that holds something else.
    """
    nodes: list[dict[str, Any]] = []
    schema = ""
    for name, path in saved:
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            (node,) = content["markups"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"The box of {name} could not be saved: {error}") from error
        if any(other["name"] == name for other in nodes):
            raise CommandError(f"There are two boxes called {name}; delete or rename one.")
        nodes.append({**node, "name": name})
        schema = content.get("@schema", schema)
    if not nodes:
        raise CommandError(
            "There is no box to segment in. Segment once, or draw an ROI and give it the name of a structure."
        )
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps({"@schema": schema, "markups": nodes}, indent=1), encoding="utf-8")


def summary(result: Result) -> list[str]:
    """Lines for the user: each structure with its status, then the warnings."""
    lines = [f"{name}: {status.replace('_', ' ')}" for name, status in result.status.items()]
    return lines + [f"Warning: {warning}" for warning in result.warnings]


class Run:
    """A program that runs while Slicer stays alive; ask ``poll`` for what it printed, from a timer.

    Args:
        process: from ``subprocess.Popen`` with text on ``stdout``.
    """

    def __init__(self, process: Any) -> None:
        self.process = process
        self.lines: list[str] = []
        self._waiting: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._waiting.put(line.rstrip())
        self.process.wait()

    def poll(self) -> tuple[list[str], int | None]:
        """New lines, and the exit code where the program has ended and all its lines were handed out."""
        ended = not self._reader.is_alive()
        new: list[str] = []
        while not self._waiting.empty():
            new.append(self._waiting.get())
        self.lines += new
        return new, self.process.returncode if ended else None

    def cancel(self) -> None:
        """Ask the program to end; what it finished stays."""
        self.process.terminate()


def _status(folder: Path) -> dict[str, str]:
    try:
        organs = json.loads((folder / "localization.json").read_text(encoding="utf-8"))["organs"]
        return {str(name): str(entry["status"]) for name, entry in organs.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last_words(lines: Sequence[str]) -> str:
    told = [line for line in lines if line.strip()]
    errors = [line for line in told if line.lstrip().lower().startswith("error")]
    return (errors or told or [""])[-1].strip()
