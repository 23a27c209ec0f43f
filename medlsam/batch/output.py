"""The output folder of a run over many scans: what is done, what it was made from, and whole files only.

A scan's files are written into a hidden folder beside their place and moved there when all are complete,
the marker ``.done.json`` last. So a case is done exactly if its marker is there, whenever the run was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from medlsam.errors import UsageError, WorkerError
from medlsam.export.formats import OUTPUT_FILES, OUTPUT_FOLDER
from medlsam.export.thumbnails.file import THUMBNAILS_FILE
from medlsam.parallel.shared_folder import PREFIX
from medlsam.runtime.atomic_files import remove_stale, write_json

RUN_FILE = "run.json"
MARKER = ".done.json"
#: What each command puts into every case's folder.
NEEDED_FILES = {"segment": ("segmentation.nii.gz", "localization.json"), "localize": ("localization.json",)}
#: All that a run may put there, as patterns; other files belong to somebody else and stay.
CASE_FILES = ("localization.json", THUMBNAILS_FILE, *OUTPUT_FILES, f"{OUTPUT_FOLDER}/*.nii.gz")
#: What only a run of ``segment`` puts into the output folder.
SUMMARY_FILES = ("labels.json", "labels.itksnap.txt", "statistics.csv", "statistics.json", "report.html")
#: No case can have these names: files and folders of the run as a whole.
RESERVED = (RUN_FILE, *SUMMARY_FILES, "nnUNet_raw", "corrected")

# A hidden folder: the case's name and, where several processes work, the writer's.
_PARTIAL = re.compile(r"\.(.+?)(@[^@]+-\d+)?\.partial")

_LONGEST = 150

CaseStatus = Literal["done", "failed"]


@dataclass(frozen=True)
class CaseRecord:
    """How one scan went; its entry in ``run.json``.

    Attributes:
        image: where the scan lies.
        first_file: of a DICOM series, its first slice: a folder may hold several series.
        status: ``done`` or ``failed``.
        seconds: wall seconds per stage.
        warnings: what a reader should know.
        error: ``type`` and ``text`` of what went wrong, and ``traceback`` where that was unforeseen.
    """

    image: str
    status: CaseStatus
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    first_file: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values; seconds rounded to the millisecond."""
        return asdict(self) | {
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class DoneCase:
    """What the marker of a finished case holds.

    Attributes:
        fingerprint: of the scan and of all that the result depends on.
        shared: the part of it that all scans of a run have in common.
        record: the entry in ``run.json``.
        statistics: the case's rows of ``statistics.csv``.
    """

    fingerprint: str
    shared: str
    record: CaseRecord
    statistics: list[dict[str, Any]]


class OutputFolder:
    """An output folder: ``open`` checks it, ``prepare`` makes it.

    Attributes:
        path: the folder.
        command: ``segment`` or ``localize``.
        writer: ``HOST-PID`` where several processes work: one that was given up for dead may still be alive,
            and must not meet the next one in a hidden folder.
    """

    def __init__(self, path: Path, command: str, writer: str = "") -> None:
        self.path = path
        self.command = command
        self.writer = writer

    @classmethod
    def open(cls, path: str | Path, command: str, overwrite: bool = False) -> OutputFolder:
        """Check whether a command may write there.

        Raises:
            UsageError: it is a file or a templates folder, or holds what another command made and
                ``overwrite`` is off.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path}: this is a file; give a folder for the output")
        before = _read_json(path / RUN_FILE).get("command")
        if before not in (None, command) and not overwrite:
            raise UsageError(
                f"{path}: holds what `medlsam {before}` wrote; give another output folder, or overwrite it"
            )
        if before is None and (path / "labels.json").exists():
            raise UsageError(
                f"{path}: holds a labels.json but no {RUN_FILE}, so it may be a templates folder; "
                "give another output folder"
            )
        return cls(path, command)

    def prepare(self, cases: Iterable[str]) -> None:
        """Make the folder, and clear what a killed run over these scans left half-written.

        Raises:
            UsageError: it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.clear(cases)
            # Of other runs over this folder only what nobody can be writing any more.
            remove_stale(self.path, ".tmp-*", f"{PREFIX}*")
            if _read_json(self.path / RUN_FILE).get("command") not in (None, self.command):
                for name in SUMMARY_FILES:
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be used for the output ({error.strerror or error})"
            ) from error

    def clear_killed(self) -> None:
        """Remove what killed runs kept for themselves; only for a run that has the folder to itself."""
        try:
            remove_stale(self.path, ".tmp-*", f"{PREFIX}*", seconds=0)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be used for the output ({error.strerror or error})"
            ) from error

    def clear(self, cases: Iterable[str]) -> None:
        """Remove the hidden folders of these scans, of whichever process."""
        wanted = {_short(case) for case in cases}
        for left in self.path.glob(".*.partial"):
            if (name := _PARTIAL.fullmatch(left.name)) and name[1] in wanted:
                shutil.rmtree(left, ignore_errors=True)

    def done(self, case: str) -> DoneCase | None:
        """What is known of a finished case; None where it is not finished, or its files are not all there."""
        data = _read_json(self.path / case / MARKER)
        try:
            found = DoneCase(
                fingerprint=data["fingerprint"],
                shared=data["shared"],
                record=CaseRecord(**(data["record"] | {"warnings": tuple(data["record"]["warnings"])})),
                statistics=list(data["statistics"]),
            )
            whole = all((self.path / case / name).is_file() for name in data["files"])
        except (KeyError, TypeError):
            return None
        return found if whole else None

    def run_json(self) -> dict[str, Any]:
        """What ``run.json`` holds; nothing where there is none."""
        return _read_json(self.path / RUN_FILE)

    def all_done(self) -> dict[str, DoneCase]:
        """Every finished case of the folder, also of earlier runs, by name."""
        names = sorted(marker.parent.name for marker in self.path.glob(f"*/{MARKER}"))
        return {name: done for name in names if (done := self.done(name)) is not None}

    def outdated(self, name: str) -> bool:
        """Whether a file of the summary is absent, or older than a case's result, as one of another shard may be."""
        file = self.path / name
        if not file.is_file():
            return True
        made = file.stat().st_mtime
        return any(marker.stat().st_mtime > made for marker in self.path.glob(f"*/{MARKER}"))

    @contextmanager
    def writing(self, case: str) -> Iterator[Path]:
        """Give a hidden folder for a case's files; on an error it goes, else call ``finish`` inside."""
        partial = self._partial(case)
        shutil.rmtree(partial, ignore_errors=True)
        # Inside, since Ctrl-C may come between the folder's making and the next line.
        try:
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def finish(self, case: str, done: DoneCase) -> None:
        """Move a case's files from its hidden folder to their place, the marker last."""
        partial, target = self._partial(case), self.path / case
        files = sorted(file.relative_to(partial).as_posix() for file in partial.rglob("*") if file.is_file())
        for name in NEEDED_FILES[self.command]:
            if name not in files:
                # Somebody cleared the hidden folder meanwhile, for example another run over this scan.
                raise WorkerError(f"{partial / name}: gone before it was moved; is another run at work here?")
        content = asdict(done) | {"record": done.record.to_dict(), "files": files}
        write_json(partial / MARKER, content)
        if not target.exists():
            os.rename(partial, target)
            return
        # Somebody may have put files of their own there, so the folder is not replaced as a whole.
        self.discard(case)
        target.mkdir(exist_ok=True)
        for name in (*files, MARKER):
            (target / name).parent.mkdir(exist_ok=True)
            os.replace(partial / name, target / name)

    def discard(self, case: str) -> None:
        """Remove an outdated result; files that no run wrote stay."""
        target = self.path / case
        for pattern in (MARKER, *CASE_FILES):
            for file in target.glob(pattern):
                file.unlink(missing_ok=True)
        for emptied in (target / OUTPUT_FOLDER, target):
            if emptied.is_dir() and not any(emptied.iterdir()):
                emptied.rmdir()

    def _partial(self, case: str) -> Path:
        return self.path / f".{_short(case)}{self.writer and '@' + self.writer}.partial"


def _short(case: str) -> str:
    """The case's name in that of its hidden folder: file systems allow 255 bytes, and the writer's name comes after."""
    name = case.encode()
    if len(name) <= _LONGEST:
        return case
    return name[: _LONGEST - 9].decode(errors="ignore") + "~" + hashlib.sha256(name).hexdigest()[:8]


def digest(data: Any) -> str:
    """sha256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def input_state(path: Path) -> list[list[Any]]:
    """Name, size and time of change of a file, or of each file of a series folder.

    Raises:
        OSError: the file is not there.
    """
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    # A .mhd header is small and its data lie beside it.
    files += [f for suffix in (".zraw", ".raw") if (f := path.with_suffix(suffix)).is_file()]
    return [[file.name, (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]


def _read_json(path: Path) -> dict[str, Any]:
    """The content, or nothing where there is no such file or it is damaged: then the work is done again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
