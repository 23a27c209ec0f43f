"""What is known of a public data set, and what its adapter finds in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from medlsam.data.files import SourceFiles
from medlsam.errors import MedlsamError
from medlsam.runtime.http_transfer import Remote
from medlsam.volume.volume import Image, LabelMap

Split = Literal["train", "val", "test"]

#: One lesion of a scan, a column each; see ``medlsam.data.lesion_table``.
LesionRow = Mapping[str, str | int | float]


@dataclass(frozen=True)
class RawScan:
    """One scan as it was read.

    Attributes:
        image: HU.
        labels: on the grid of the image, in the values of ``FoundCases.names``; None where the source has none.
        absent: structures of which the source itself says that they are not in the scan.
        notes: what a reader of the dataset should know of this case.
        lesions: a row for each lesion that the source tells apart.
        instances: on the grid of the image, in the numbers ``lesion`` of these rows; None where the source has no
            masks of single lesions.
        facts: what else the source says of the scan and ``cases.json`` keeps, JSON values.
    """

    image: Image
    labels: LabelMap | None = None
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lesions: tuple[LesionRow, ...] = ()
    instances: LabelMap | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RawCase:
    """One scan that lies in a source.

    Attributes:
        name: of the case in the dataset.
        split: of the source.
        read: reads it; called when its turn comes, so that one scan is in memory at a time.
        labelled: whether it has labels, so that it goes to ``imagesTr`` and ``labelsTr`` and not to ``imagesTs``.
    """

    name: str
    split: Split
    read: Callable[[], RawScan]
    labelled: bool = True


def failing_case(name: str, split: Split, error: MedlsamError) -> RawCase:
    """A case that is known to be unreadable: it is named when its turn comes, and the others are written."""
    return RawCase(name, split, partial(_fail, error))


def _fail(error: MedlsamError) -> RawScan:
    raise error


@dataclass(frozen=True)
class FoundCases:
    """What an adapter finds.

    Attributes:
        names: value to structure, the values from 1 without gaps.
        cases: in any order.
        left_out: what is in the source and not meant (MR scans, X-ray pictures), with the reason.
    """

    names: Mapping[int, str]
    cases: tuple[RawCase, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSource:
    """A public data set.

    Attributes:
        name: what users write.
        title: full name and version.
        contents: scans and structures, in one line.
        licence: SPDX identifier, or words.
        licence_url: where it is written.
        citation: whom to cite.
        homepage: where the data set is described.
        dataset: folder that is made, ``Dataset###_<Name>``.
        find: the adapter: finds the cases in the files of the source.
        expected: the layout that the adapter looks for, in words.
        bytes: of the download, about; None where unknown.
        archive: the published zip; None where there is none that may be fetched by itself.
        archive_file: its name on the user's disk and at a mirror.
        online: finds the cases where the source is fetched scan by scan, into the folder given.
        how_to_get: what to do where it is not fetched by itself.
    """

    name: str
    title: str
    contents: str
    licence: str
    licence_url: str
    citation: str
    homepage: str
    dataset: str
    find: Callable[[SourceFiles], FoundCases]
    expected: str
    bytes: int | None = None
    archive: Remote | None = None
    archive_file: str = ""
    online: Callable[[Path], FoundCases] | None = None
    how_to_get: str = ""

    @property
    def fetched(self) -> bool:
        """Whether ``medlsam data`` fetches it, or needs a copy."""
        return self.archive is not None or self.online is not None

    @property
    def checked_by(self) -> str:
        """What a download is checked with, in words."""
        if self.online is not None:
            return "the number of files of each series"
        if self.archive is None:
            return "–"
        if self.archive.digest is None:
            return "sha256 of the first download"
        return self.archive.digest.partition(":")[0]
