"""What became of one source: written when it is done, so that a build that is interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medlsam.pool.find import Candidate
from medlsam.pool.manifest import LeftOut, Reason, Row
from medlsam.runtime.atomic_files import write_json

RECORDS = "sources"


@dataclass(frozen=True)
class Record:
    """What became of one source.

    Attributes:
        source: see ``Candidate``.
        state: of its files when they were read.
        row: of the scan; None where it was left out.
        left_out: why, where it was left out when it was read.
        dropped: why, where it was left out later, beside other scans of the pool; its shard is gone.
    """

    source: str
    state: str
    row: Row | None = None
    left_out: LeftOut | None = None
    dropped: LeftOut | None = None

    def is_current(self, folder: Path, candidate: Candidate, keep_doubles: bool) -> bool:
        """Whether nothing needs to be done for the candidate."""
        try:
            if self.state != state_of(candidate.files):
                return False
        except OSError:
            return False
        if self.left_out is not None:
            return True
        if self.dropped is not None:
            return not (keep_doubles and self.dropped.reason is Reason.DOUBLE)
        return self.row is not None and (folder / self.row.shard).is_file()


def state_of(files: Sequence[Path]) -> str:
    """Stands for the places, sizes and times of change of some files."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
        # A MetaImage or NRRD header is small, and its voxels lie beside it.
        for beside in (file.with_suffix(suffix) for suffix in (".zraw", ".raw", ".raw.gz")):
            if file.suffix.lower() in (".mhd", ".nhdr") and beside.is_file():
                digest.update(f"{beside} {beside.stat().st_size} {beside.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def record_path(folder: Path, candidate: Candidate) -> Path:
    """Where the record of a candidate lies: by its absolute place, which the record itself does not tell."""
    place = f"{candidate.files[0].parent} {candidate.root} {candidate.source}"
    return folder / RECORDS / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.json"


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_json(path, asdict(record))


def read_record(path: Path) -> Record | None:
    """The record of a file; None where there is none, or it is of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for name in ("left_out", "dropped"):
            if data[name] is not None:
                data[name] = LeftOut(**data[name] | {"reason": Reason(data[name]["reason"])})
        data["row"] = None if data["row"] is None else Row.from_dict(data["row"])
        return Record(**data)
    except (OSError, ValueError, KeyError, TypeError):
        return None
