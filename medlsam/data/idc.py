"""Series of the NCI Imaging Data Commons through its index. The one file that knows ``idc-index`` (extra ``[idc]``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlsam.errors import DownloadError, UsageError
from medlsam.runtime.download import is_offline


@dataclass(frozen=True)
class IdcSeries:
    """A CT series of the archive.

    Attributes:
        patient: ``PatientID``.
        uid: ``SeriesInstanceUID``.
        files: how many it has.
        licence: its own, as the index says.
    """

    patient: str
    uid: str
    files: int
    licence: str


def ct_series(collection: str) -> list[IdcSeries]:
    """The CT series of a collection, by patient and UID.

    Raises:
        DownloadError: ``MEDLSAM_OFFLINE``.
        UsageError: ``idc-index`` is not installed.
    """
    index = _client().index
    rows = index[(index["collection_id"] == collection) & (index["Modality"] == "CT")].to_dict("records")
    series = [
        IdcSeries(
            str(row["PatientID"]),
            str(row["SeriesInstanceUID"]),
            int(row["instanceCount"]),
            str(row.get("license_short_name", "")),
        )
        for row in rows
    ]
    return sorted(series, key=lambda one: (one.patient, one.uid))


def download_series(series: IdcSeries, folder: Path) -> None:
    """Fetch the files of a series into a folder, which is made.

    Raises:
        DownloadError: ``MEDLSAM_OFFLINE``; not all files came.
        UsageError: ``idc-index`` is not installed.
    """
    client = _client()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        client.download_from_selection(
            downloadDir=str(folder),
            seriesInstanceUID=[series.uid],
            dirTemplate=None,
            quiet=True,
            show_progress_bar=False,
        )
    except Exception as error:  # what s5cmd, duckdb and the index raise has no common base
        raise DownloadError(f"series {series.uid} of {series.patient}: not fetched: {error}") from error
    # A transfer that fails is only logged.
    came = len([file for file in folder.rglob("*") if file.is_file()])
    if came < series.files:
        raise DownloadError(
            f"series {series.uid} of {series.patient}: {came} of {series.files} files came; run it again"
        )


def _client() -> Any:
    if is_offline():
        raise DownloadError("MEDLSAM_OFFLINE is set, so the Imaging Data Commons is not asked")
    try:
        from idc_index import IDCClient
    except ImportError as error:
        raise UsageError(
            "the Imaging Data Commons is read with idc-index: pip install 'medlsam[idc]', or give your copy with --from"
        ) from error
    return IDCClient()
