"""Why something that was found is not in the pool: a closed list, and the words for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a file or series was left out."""

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

#: What went wrong, rather than what a collection holds beside its scans: the command's exit code tells of these.
FAILURES = frozenset({Reason.UNREADABLE, Reason.KILLED})


@dataclass(frozen=True, order=True)
class LeftOut:
    """One thing that was left out.

    Attributes:
        source: where it lies, beginning with the name of the folder that was given.
        reason: why.
        words: what was found there.
    """

    source: str
    reason: Reason
    words: str
