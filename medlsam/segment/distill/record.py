"""The small file beside a distilled student: teacher, scans, masks and agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medlsam._version import __version__
from medlsam.runtime.atomic_files import write_json
from medlsam.segment.distill.labels import TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.score import Agreement
from medlsam.segment.distill.teacher import Teacher
from medlsam.segment.finetune.history import history_file
from medlsam.segment.finetune.score import Comparison, compare
from medlsam.segment.registry import SEGMENTERS

# Not a number: `finetune --cycle` must not take the file for a history of its own.
_FORMAT = "distillation 1"


def compared(before: Agreement, after: Agreement) -> dict[str, Comparison]:
    """Pair the agreements of two students by patient, for exact and for jittered boxes."""
    return {kind: compare(getattr(before, kind), getattr(after, kind)) for kind in ("exact", "jittered")}


def make_record(
    teacher: Teacher,
    start: tuple[str, str],
    training: Sequence[TaughtScan],
    judging: Sequence[TaughtScan],
    failed: Mapping[str, str],
    masks: Mapping[str, int],
    before: Agreement,
    after: Agreement,
    options: DistillOptions,
) -> dict[str, Any]:
    """Tell how a student came about, as JSON values.

    Args:
        teacher: the large model.
        start: name and sha256 of the weights that the student began with.
        training: scans.
        judging: held-out scans.
        failed: scan to why it could not be used.
        masks: number of ``kept`` ones, and of dropped ones by fault.
        before: agreement of the weights that it began with.
        after: of the new ones.
        options: of the training.
    """
    known = SEGMENTERS.get(teacher.name)
    both = compared(before, after)
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "medlsam": __version__,
        "teacher": {
            "name": teacher.name,
            "signature": teacher.signature,
            "licence": None if known is None else known.licence,
        },
        "began_with": {"name": start[0], "sha256": start[1]},
        "options": asdict(options),
        "trained_on": {scan.name: {"patient": scan.patient, "masks": len(scan.kept)} for scan in training},
        "held_out": {scan.name: {"patient": scan.patient, "masks": len(scan.kept)} for scan in judging},
        "failed": dict(failed),
        "masks": dict(masks),
        "agreement": {
            **{kind: own.to_dict() for kind, own in both.items()},
            "by_patient": {
                patient: {
                    kind: [round(getattr(side, kind)[patient], 4) for side in (before, after)]
                    for kind in both
                }
                for patient in before.exact
            },
        },
        "better": after.mean > before.mean,
    }


def write_record(weights: Path, record: Mapping[str, Any]) -> None:
    """Write the record beside the weights."""
    write_json(history_file(weights), {"format": _FORMAT, **record})
