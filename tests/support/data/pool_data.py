"""Raw collections that a pool is made of, and work that kills the process that does it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.pool import BuildResult, Reason
from medlsam.pool.find import Candidate
from medlsam.pool.ingest import IngestJob
from medlsam.pool.record import Record
from medlsam.volume import Image
from tests.support.data.dicom_files import write_ct

GRID = Grid((20, 24, 28), (7.0, 7.0, 6.0), (-90.0, -80.0, 100.0))


def shifted(volume: Image, hu: float) -> Image:
    """Another patient: the same body, a little brighter."""
    return Image((volume.array + np.int16(hu)).astype(np.int16), volume.grid)


def write_raw(ct: Image, folder: Path) -> Path:
    """Five scans, two copies, a double, a tilt, and three files that are none.

    Args:
        ct: a body, on ``GRID``.
        folder: where to; it is returned.
    """
    for n in range(3):
        write_volume(shifted(ct, n), folder / "files" / f"case{n}.nii.gz")
    (folder / "files" / "copy.nii.gz").write_bytes((folder / "files" / "case1.nii.gz").read_bytes())
    (folder / "files" / "LICENSE").write_text("\n# CC BY 4.0\nmore words")
    write_ct(shifted(ct, 50), folder / "dicom" / "thin", "1")
    # Half of the slices of the same study: another reconstruction.
    thick = Image(shifted(ct, 51).array[::2], Grid((10, 24, 28), (7.0, 7.0, 12.0), GRID.origin_xyz))
    write_ct(thick, folder / "dicom" / "thick", "2")
    write_ct(shifted(ct, 60), folder / "dicom" / "tilted", "3", (0.0, 1.5, 0.0), t0020_000d="1.2.4")
    # The same pixels as case0 in another format.
    write_ct(ct, folder / "dicom" / "case0", "4", t0020_000d="1.2.5")
    (folder / "bad").mkdir()
    (folder / "bad" / "cut.nii.gz").write_bytes((folder / "files" / "case0.nii.gz").read_bytes()[:3000])
    write_volume(shifted(ct, 2000), folder / "bad" / "shifted.nii.gz")
    write_volume(Image(ct.array[:3], Grid((3, 24, 28), GRID.spacing_xyz)), folder / "bad" / "slab.nii.gz")
    return folder


def left_out(result: BuildResult) -> dict[str, Reason]:
    """Reason by source."""
    return {entry.source: entry.reason for entry in result.left_out}


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and times of change of all shards."""
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(folder.glob("scans/*/*"))}


class KillingJob(IngestJob):
    """A build's work, which one scan always kills."""

    def __call__(self, candidate: Candidate, following: Candidate | None = None) -> Record:
        if candidate.case == "case2":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(candidate)
