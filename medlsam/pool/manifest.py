"""The files that say what a pool holds: one row a scan, what was left out and why, and one hash over the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError
from medlsam.runtime.atomic_files import write_json, write_text

POOL_FILE, MANIFEST, LEFT_OUT = "pool.json", "manifest.jsonl", "left_out.jsonl"
FORMAT = "medlsam pool 1"


class Reason(StrEnum):
    """Why a file or series is not in the pool."""

    LOCALIZER = "localizer"
    REPORT = "report"
    SECONDARY_CAPTURE = "secondary capture"
    NO_IMAGE = "no image"
    MODALITY = "not CT"
    LABELS = "label map"
    UNREADABLE = "unreadable"
    NO_POSITION = "no positions"
    GAP = "gap"
    OVERLAP = "slices twice"
    NOT_HU = "not HU"
    SMALL = "too small"
    NO_BODY = "no body"
    DUPLICATE = "duplicate"
    DOUBLE = "double"
    KILLED = "killed"


MEANING = {
    Reason.LOCALIZER: "scout views that scans are planned on",
    Reason.REPORT: "DICOM structured reports",
    Reason.SECONDARY_CAPTURE: "pictures of screens and dose sheets",
    Reason.NO_IMAGE: "DICOM objects without pixels of a scan: contours, segmentations, presentation states",
    Reason.MODALITY: "DICOM series of other modalities",
    Reason.LABELS: "label maps, by their name or folder",
    Reason.UNREADABLE: "damaged, cut off or malformed",
    Reason.NO_POSITION: "DICOM slices without place or direction",
    Reason.GAP: "slices are missing or unevenly spaced",
    Reason.OVERLAP: "several slices at one place, and no field that tells the phases apart",
    Reason.NOT_HU: "values are not CT in HU",
    Reason.SMALL: "too few slices, or too little of a body",
    Reason.NO_BODY: "nothing but air",
    Reason.DUPLICATE: "the same voxels as another scan",
    Reason.DOUBLE: "the same place of the same study as another series: a phase, kernel or slice thickness more",
    Reason.KILLED: "the process that read it was killed, mostly for want of memory",
}

#: Reasons that are faults, not things that a collection holds beside its scans: they set the command's exit code.
FAILURES = frozenset({Reason.UNREADABLE, Reason.KILLED})


@dataclass(frozen=True, order=True)
class LeftOut:
    """A file or series that was left out.

    Attributes:
        source: where it lies, beginning with the name of the folder that was given.
        reason: why.
        words: what was found there.
    """

    source: str
    reason: Reason
    words: str


@dataclass(frozen=True)
class Row:
    """One scan of a pool.

    Attributes:
        name: unique and unchanging: the case and the beginning of the hash of its files.
        case: name of the file or of the folder of the series; not unique.
        source: where it came from, beginning with the name of the folder that was given.
        collection: as files beside it say, else the name of the folder that was given.
        licence: as files beside it say, or the call; None where neither does.
        regions: an estimate, see ``body_region.py``.
        notes: what was set right, such as a gantry tilt.
        study: stands for the DICOM study and frame of reference; empty where there is none.
        source_shape_zyx: voxels of the scan as it was.
        source_spacing_xyz: mm along its own voxel axes.
        shape_zyx: voxels in the pool.
        spacing_mm: in the pool, along all axes.
        origin_xyz: LPS mm of the first voxel in the pool.
        pixels_sha256: of the voxels as they were read.
        shard: the file below the pool's folder.
        shard_sha256: of that file.
        bytes: of that file.
    """

    name: str
    case: str
    source: str
    collection: str
    licence: str | None
    regions: tuple[str, ...]
    notes: tuple[str, ...]
    study: str
    source_shape_zyx: tuple[int, int, int]
    source_spacing_xyz: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]
    spacing_mm: float
    origin_xyz: tuple[float, float, float]
    pixels_sha256: str
    shard: str
    shard_sha256: str
    bytes: int

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Row:
        """From JSON values.

        Raises:
            TypeError: fields are missing, or there are others.
        """
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


def digest_of(rows: Iterable[Row]) -> str:
    """sha256 over all rows, whatever their order."""
    lines = sorted(json.dumps(asdict(row), sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_spacing(folder: Path) -> float | None:
    """The spacing of a pool, mm; None where the folder holds no pool.

    Raises:
        UsageError: ``pool.json`` is of another kind.
    """
    if not (folder / POOL_FILE).is_file():
        return None
    try:
        data = json.loads((folder / POOL_FILE).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}")
        return float(data["spacing_mm"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / POOL_FILE}: does not describe a pool of `medlsam pool build` ({error})"
        ) from error


def read_rows(folder: Path) -> list[Row]:
    """The rows of a pool by name; none where no build of it has ended yet.

    Raises:
        UsageError: the manifest is damaged.
    """
    try:
        return [Row.from_dict(entry) for entry in _lines(folder / MANIFEST)]
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{folder / MANIFEST}: damaged ({error}); remove it and run `medlsam pool build` again"
        ) from error


def read_left_out(folder: Path) -> list[LeftOut]:
    """What earlier builds left out; none where that cannot be read."""
    try:
        entries = _lines(folder / LEFT_OUT)
        return [LeftOut(e["source"], Reason(e["reason"]), e["words"]) for e in entries]
    except (ValueError, KeyError, TypeError):
        return []


def write_pool_file(folder: Path, spacing_mm: float, rows: Iterable[Row] | None = None) -> None:
    """Write ``pool.json``; without rows where the first build has only begun."""
    rows = None if rows is None else list(rows)
    summary = {
        "format": FORMAT,
        "spacing_mm": spacing_mm,
        "scans": None if rows is None else len(rows),
        "bytes": None if rows is None else sum(row.bytes for row in rows),
        "sha256": None if rows is None else digest_of(rows),
    }
    write_json(folder / POOL_FILE, summary)


def write_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, all or none of them."""
    lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
