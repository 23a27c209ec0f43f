"""The small file beside a fine-tuned segmenter: the training data, scores and outcome of each cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError
from medlsam.io.label_names import read_json
from medlsam.runtime.atomic_files import sha256_of, write_json
from medlsam.segment.finetune.labelled import LabelledCase

_FORMAT = 1


@dataclass(frozen=True)
class History:
    """All cycles of one fine-tuned file.

    Attributes:
        segmenter: name of the registry entry.
        original: sha256 of the weights that every cycle starts from.
        current: sha256 of the fine-tuned file; None where no cycle was better than the original weights.
        cycles: one dictionary a cycle, see ``finetune``.
    """

    segmenter: str
    original: str
    current: str | None = None
    cycles: tuple[Mapping[str, Any], ...] = field(default=())

    def trained_patients(self) -> set[str]:
        """List the patients whose labels the file in use was trained on."""
        used = [cycle for cycle in self.cycles if cycle["replaced"]][-1:]
        return {str(case["patient"]) for cycle in used for case in cycle["trained_on"].values()}


def history_file(weights: Path) -> Path:
    """Name the history file of a fine-tuned file."""
    return weights.with_name(f"{weights.name}.history.json")


def read_history(weights: Path) -> History | None:
    """Read the history of a fine-tuned file; None if there is neither.

    Raises:
        UsageError: the file is not a history, or does not belong to the weights beside it.
    """
    file = history_file(weights)
    if not file.is_file():
        if weights.exists():
            raise UsageError(
                f"{weights}: there is no {file.name} beside it, so it is not known what it was trained on; "
                "give another --output, or --overwrite without --cycle"
            )
        return None
    data = read_json(file, UsageError)
    try:
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']}")
        history = History(
            str(data["segmenter"]), str(data["original"]), data["current"], tuple(map(dict, data["cycles"]))
        )
        history.trained_patients()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{file}: not a history of `medlsam finetune` that this version reads ({error!r})"
        ) from error
    found = sha256_of(weights) if weights.is_file() else None
    if found != history.current:
        raise UsageError(
            f"{weights} is not the file that {file.name} tells of (sha256 {found}, recorded {history.current}); put "
            "the file back, or begin anew with another --output"
        )
    return history


def write_history(weights: Path, history: History) -> None:
    """Write the history beside the weights."""
    document = {
        "format": _FORMAT,
        "segmenter": history.segmenter,
        "original": history.original,
        "current": history.current,
        "cycles": list(history.cycles),
    }
    write_json(history_file(weights), document)


def case_records(cases: Sequence[LabelledCase]) -> dict[str, dict[str, str]]:
    """Record each scan's patient and the sha256 of its label map, by name."""
    return {case.name: {"patient": case.patient, "labels": case.label_sum()} for case in cases}


def new_since(history: History, trained_on: Mapping[str, Mapping[str, str]]) -> list[str]:
    """List scans that the last cycle did not have, or whose masks were corrected since."""
    last: Mapping[str, Any] = history.cycles[-1]["trained_on"] if history.cycles else {}
    return [name for name, record in trained_on.items() if last.get(name) != record]
