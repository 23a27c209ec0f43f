"""Build a pool: find, ingest what is new, deduplicate. Interrupted at any point, a further call goes on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError
from medlsam.parallel.engine import check_processes, workers
from medlsam.parallel.shared_folder import PREFIX
from medlsam.pool.deduplicate import deduplicate
from medlsam.pool.find import Candidate, Found, find_scans
from medlsam.pool.ingest import SHARDS, IngestJob
from medlsam.pool.manifest import (
    FAILURES,
    LeftOut,
    Reason,
    Row,
    digest_of,
    read_rows,
    read_spacing,
    write_pool_file,
)
from medlsam.pool.record import RECORDS, Record, read_record, record_path
from medlsam.runtime.atomic_files import remove_stale
from medlsam.runtime.run_lock import PREFIX as LOCK
from medlsam.runtime.run_lock import run_lock

#: mm; what the encoder that ships is trained at.
SPACING_MM = 4.0
_SPACINGS_MM = (0.5, 10.0)


@dataclass(frozen=True)
class Progress:
    """Where a build is.

    Attributes:
        done: number of candidates that are done, also by earlier calls.
        total: number of candidates.
        source: the last one.
        left_out: why it was left out, or None.
    """

    done: int
    total: int
    source: str
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class BuildResult:
    """What a pool holds after a build.

    Attributes:
        folder: of the pool.
        rows: its scans, by name.
        added: the names of those that were not in it before.
        left_out: all that was found and is not in it.
        others: files of this call that are no images.
        failed: sources of this call that could not be read, or whose process was killed.
    """

    folder: Path
    rows: list[Row]
    added: list[str]
    left_out: list[LeftOut]
    others: int
    failed: list[str]

    @property
    def sha256(self) -> str:
        """Of all rows."""
        return digest_of(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: counts, and everything that was left out."""
        return {
            "pool": str(self.folder),
            "sha256": self.sha256,
            "scans": len(self.rows),
            "bytes": sum(row.bytes for row in self.rows),
            "added": self.added,
            "without_licence": sum(row.licence is None for row in self.rows),
            "left_out": dict(Counter(str(entry.reason) for entry in self.left_out)),
            "left_out_sources": [asdict(entry) for entry in self.left_out],
            "other_files": self.others,
            "failed": self.failed,
        }


def build_pool(
    roots: Sequence[str | Path],
    output: str | Path,
    *,
    spacing_mm: float | None = None,
    jobs: int = 1,
    collection: str | None = None,
    licence: str | None = None,
    keep_doubles: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    scheduler: str | None = None,
) -> BuildResult:
    """Make a pool for pretraining out of raw scans, or add scans to one.

    Args:
        roots: folders with scans of any kind at any depth, or single files.
        output: the pool's folder.
        spacing_mm: isotropic spacing of the pool; if None that of the pool, and 4 mm for a new one.
        jobs: processes of this machine; 0 or 1 works in this one. With more, or with ``scheduler="local"``, a
            script must start its work under ``if __name__ == "__main__":``.
        collection: name of the collection of all scans of the call; else files beside the scans say.
        licence: of all scans of the call; else files beside the scans say.
        keep_doubles: keep further phases, kernels and slice thicknesses of the same place of a study.
        on_progress: called after each candidate.
        scheduler: ``local`` for a Dask cluster of ``jobs`` workers on this machine, or the address of a Dask
            scheduler (``tcp://host:8786``), whose workers see the same paths.

    Returns:
        What the pool holds now. Scans that cannot be read are no exception; they are in ``left_out``.

    Raises:
        UsageError: a path does not exist, no scan is found, the folder holds something else or a pool of another
            spacing, another build is at work there, or no scheduler answers.
        WorkerError: a process cannot do this work: it sees other paths or cannot write; what is done stays.
    """
    check_processes(jobs, scheduler, least=0 if scheduler is None else 1)
    folder = Path(output)
    spacing = _open(folder, spacing_mm)
    found = find_scans(roots, without=folder)
    if not found.candidates and not found.left_out:
        raise UsageError(
            f"{', '.join(map(str, roots))}: no scan is found there ({found.others} files of other kinds)"
        )
    with run_lock(folder) as alone:
        if alone:
            remove_stale(folder, f"{PREFIX}*", seconds=0)
        return _build(
            roots, folder, found, spacing, jobs, collection, licence, keep_doubles, on_progress, scheduler
        )


def _build(
    roots: Sequence[str | Path],
    folder: Path,
    found: Found,
    spacing: float,
    jobs: int,
    collection: str | None,
    licence: str | None,
    keep_doubles: bool,
    on_progress: Callable[[Progress], None] | None,
    scheduler: str | None,
) -> BuildResult:
    """Build with the folder to oneself; the arguments are those of ``build_pool``, and what was found."""
    before = {row.name for row in read_rows(folder)}
    _clear(folder)
    waiting = _waiting(folder, found.candidates, keep_doubles)
    items = {str(number): candidate for number, candidate in enumerate(waiting)}
    job = IngestJob(folder.absolute(), spacing, collection, licence)
    done, total = len(found.candidates) - len(waiting), len(found.candidates)
    killed = []
    with workers(job, items, folder, jobs, scheduler, _inputs(waiting)) as work:
        if read_spacing(folder) is None:
            write_pool_file(folder, spacing)
        for number, result in work(lambda number: None):
            if isinstance(result, Exception):
                raise result
            source = items[number].source
            left_out = result.left_out if isinstance(result, Record) else _killed(source)
            if result is None:
                killed.append(_killed(source))
            done += 1
            if on_progress is not None:
                on_progress(Progress(done, total, source, left_out))
    names = {Path(os.path.abspath(root)).name for root in roots}
    rows, left_out_all = deduplicate(folder, spacing, [*found.left_out, *killed], names, keep_doubles)
    sources = {candidate.source for candidate in found.candidates} | {
        entry.source for entry in found.left_out
    }
    return BuildResult(
        folder=folder,
        rows=rows,
        added=[row.name for row in rows if row.name not in before],
        left_out=left_out_all,
        others=found.others,
        failed=[e.source for e in left_out_all if e.reason in FAILURES and e.source in sources],
    )


def _inputs(waiting: Sequence[Candidate]) -> list[Path]:
    """One file for each folder that was given, or in which single files were: workers have to see them."""
    roots = {c.root if c.root.is_dir() else c.root.parent: c.files[0] for c in waiting}
    # What is gone meanwhile is no fault of the workers.
    return [file for file in roots.values() if file.exists()]


def _open(folder: Path, spacing_mm: float | None) -> float:
    """Check that a pool may be written there, and return its spacing."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: this is a file; give a folder for the pool")
    if spacing_mm is not None and not _SPACINGS_MM[0] <= spacing_mm <= _SPACINGS_MM[1]:
        raise UsageError(
            f"spacing {spacing_mm:g} mm is outside {_SPACINGS_MM[0]:g} to {_SPACINGS_MM[1]:g} mm"
        )
    held = read_spacing(folder)
    if (
        held is None
        and folder.is_dir()
        and any(not f.name.startswith((".tmp-", PREFIX, LOCK)) for f in folder.iterdir())
    ):
        raise UsageError(f"{folder}: holds files, but no pool; give an empty folder or a pool")
    if held is not None and spacing_mm not in (None, held):
        raise UsageError(f"{folder}: this pool is of {held:g} mm, not {spacing_mm:g}; give another folder")
    return held or spacing_mm or SPACING_MM


def _clear(folder: Path) -> None:
    """Remove what a killed build left half-written."""
    for left in (
        *folder.glob(".tmp-*"),
        *folder.glob(f"{RECORDS}/.tmp-*"),
        *folder.glob(f"{SHARDS}/*/.tmp-*"),
    ):
        left.unlink(missing_ok=True)
    remove_stale(folder, f"{PREFIX}*")


def _waiting(folder: Path, candidates: Sequence[Candidate], keep_doubles: bool) -> list[Candidate]:
    """The candidates that are not done yet."""
    waiting = []
    for candidate in candidates:
        record = read_record(record_path(folder, candidate))
        if record is None or not record.is_current(folder, candidate, keep_doubles):
            waiting.append(candidate)
    return waiting


def _killed(source: str) -> LeftOut:
    return LeftOut(
        source,
        Reason.KILLED,
        "the process that read it was killed twice, the second time with no other scan in it: too little memory?",
    )
