"""Take one candidate from its files to a packed scan, or to the reason why not: the work of a build's processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medlsam.errors import HounsfieldError, MedlsamError, WorkerError
from medlsam.io.read import read_dicom_slices, read_image
from medlsam.pool.body_region import regions
from medlsam.pool.find import Candidate
from medlsam.pool.licence import provenance
from medlsam.pool.manifest import LeftOut, Reason, Row
from medlsam.pool.packed_scan import SUFFIX, write_packed_scan
from medlsam.pool.preprocess import LEAST_MM, pixel_hash, prepare
from medlsam.pool.record import Record, record_path, state_of, write_record
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.log_notes import log_notes
from medlsam.volume import Image
from medlsam.volume.hounsfield import TISSUE_HU

SHARDS = "scans"


@dataclass(frozen=True)
class IngestJob:
    """The ``Job`` of a build: how its candidates become scans of the pool.

    Attributes:
        folder: of the pool, absolute: a worker elsewhere is in another folder.
        spacing_mm: of the pool.
        collection: of all scans of the call; if None files beside a scan say it.
        licence: likewise.
        slots: candidates that a process may hold at the same time.
    """

    folder: Path
    spacing_mm: float
    collection: str | None = None
    licence: str | None = None

    slots: ClassVar[int] = os.cpu_count() or 1

    def start(self) -> None:
        """Nothing is loaded before the first candidate."""

    def __call__(self, candidate: Candidate, following: Candidate | None = None) -> Record:
        """See ``ingest``."""
        return ingest(self, candidate)


def ingest(job: IngestJob, candidate: Candidate) -> Record:
    """Read, check, prepare and pack one candidate; its record is written last.

    Running it again gives the same file. Errors of reading are part of the record.

    Raises:
        WorkerError: the pool's folder cannot be written to, which is no fault of the source.
    """
    state = ""
    try:
        state = state_of(candidate.files)
        row = _pack(job, candidate)
    except WorkerError:
        raise
    except (MedlsamError, OSError, MemoryError) as error:
        row = _refused(candidate, error)
    kept, left_out = (row, None) if isinstance(row, Row) else (None, row)
    record = Record(candidate.source, state, kept, left_out)
    path = record_path(job.folder, candidate)
    with _into_the_pool(path):
        write_record(path, record)
    return record


def _pack(job: IngestJob, candidate: Candidate) -> Row | LeftOut:
    with log_notes() as notes:
        volume = _read(candidate)
    if (
        min(n * s for n, s in zip(volume.grid.shape_zyx[::-1], volume.grid.spacing_xyz, strict=True))
        < LEAST_MM
    ):
        size = " x ".join(f"{v:.0f}" for v in volume.grid.box.size)
        return LeftOut(candidate.source, Reason.SMALL, f"{size} mm; at least {LEAST_MM:g} mm along each axis")
    scan = prepare(volume, job.spacing_mm)
    if scan is None:
        return LeftOut(
            candidate.source, Reason.NO_BODY, f"nothing above {TISSUE_HU:g} HU that is larger than 5 ml"
        )
    pixels = pixel_hash(volume)
    # The same voxels elsewhere in space are another file, so that a name stands for the same bytes whoever writes it.
    key = hashlib.sha256(f"{pixels} {volume.grid}".encode()).hexdigest()
    shard = f"{SHARDS}/{key[:2]}/{key[:24]}{SUFFIX}"
    path = job.folder / shard
    with _into_the_pool(path):
        write_packed_scan(path, scan)
    collection, licence = provenance(candidate.files[0], candidate.root)
    return Row(
        name=f"{candidate.case}-{key[:8]}",
        case=candidate.case,
        source=candidate.source,
        collection=job.collection or collection,
        licence=job.licence or licence,
        regions=tuple(regions(scan)),
        # Without the path that the reader says first.
        notes=tuple(note.partition(": ")[2] for note in notes),
        study=candidate.study or "",
        source_shape_zyx=volume.grid.shape_zyx,
        source_spacing_xyz=volume.grid.spacing_xyz,
        shape_zyx=scan.grid.shape_zyx,
        spacing_mm=job.spacing_mm,
        origin_xyz=scan.grid.origin_xyz,
        pixels_sha256=pixels,
        shard=shard,
        shard_sha256=sha256_of(path),
        bytes=path.stat().st_size,
    )


@contextmanager
def _into_the_pool(path: Path) -> Iterator[None]:
    """What cannot be written there is the pool's fault, not the source's."""
    try:
        yield
    except OSError as error:
        raise WorkerError(
            f"{path}: cannot be written ({error.strerror or error}); what is done stays: make room, or end other "
            "builds of this pool, and give the same command again"
        ) from error


def _read(candidate: Candidate) -> Image:
    if candidate.study is None:
        return read_image(candidate.files[0])
    return read_dicom_slices([str(file) for file in candidate.files], candidate.files[0].parent)


def _refused(candidate: Candidate, error: Exception) -> LeftOut:
    words = str(error) or type(error).__name__
    for place in dict.fromkeys((str(candidate.files[0]), str(candidate.files[0].parent))):
        words = words.removeprefix(f"{place}: ")
    reason = Reason.UNREADABLE
    if isinstance(error, HounsfieldError):
        reason = Reason.NOT_HU
    return LeftOut(candidate.source, reason, words)
