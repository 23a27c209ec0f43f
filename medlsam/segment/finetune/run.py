"""Fine-tuning of the mask decoder on a user's own labelled scans, once or in cycles.

After Technical validation, "MedSAM fine-tuning", of the HCUCH paper: the encoder is frozen, the decoder is trained
from the original weights with jittered boxes, leave-one-patient-out chooses the epochs, and a human-in-the-loop
cycle replaces the segmenter only if the new one does better on held-out patients.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medlsam._version import __version__
from medlsam.errors import UsageError
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.device import resolve_device
from medlsam.segment.finetune.embeddings import EmbeddedScan, embed_cases
from medlsam.segment.finetune.history import (
    History,
    case_records,
    new_since,
    read_history,
    write_history,
)
from medlsam.segment.finetune.labelled import LabelledCase, Names, split_labelled
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.score import (
    Comparison,
    compare,
    score,
)
from medlsam.segment.finetune.train import Selection, select_epochs, train
from medlsam.segment.finetune.tuners import in_window, tuner_of
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter

_DEFAULT = FinetuneOptions()


@dataclass(frozen=True)
class HeldOut:
    """The new segmenter against the one before it, on patients that neither was trained on.

    Attributes:
        against: ``original`` weights, or the ``previous`` cycle's.
        by_patient: patient to 3D Dice before and after.
        patients: 3D Dice with true slice boxes, one value a patient.
        components: Dice of each 2D component, as the paper scores.
    """

    against: str
    by_patient: Mapping[str, tuple[float, float]]
    patients: Comparison
    components: Comparison


@dataclass(frozen=True)
class Finetuned:
    """The result of a fine-tuning.

    Attributes:
        path: the segmenter file, for ``--segmenter FILE``.
        replaced: whether the file was written; if not, the file of an earlier cycle is still the better one.
        cycle: number of this one, from 1.
        new: scans that are new or corrected since the cycle before.
        selection: of leave-one-patient-out.
        held_out: None where no patients were held out.
        record: this cycle's entry of the history file, JSON values.
    """

    path: Path
    replaced: bool
    cycle: int
    new: tuple[str, ...]
    selection: Selection
    held_out: HeldOut | None
    record: Mapping[str, Any]


def finetune(
    labelled: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    segmenter: str | Path = "sam-tiny",
    cases: Names | None = None,
    held_out: Names | None = None,
    organs: Sequence[str] | None = None,
    patients: Mapping[str, str] | str | Path | None = None,
    cycle: bool = False,
    overwrite: bool = False,
    options: FinetuneOptions = _DEFAULT,
    device: str = "auto",
    cache: str | Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Finetuned:
    """Train a segmenter's mask decoder on labelled scans.

    Args:
        labelled: folders laid out as templates folders: nnU-Net, or ``<case>/image.*`` with ``<case>/labels.*``.
        output: the file to write, ``*.safetensors``; ``<output>.history.json`` beside it records all cycles.
            For SAM and MedSAM its name begins with the segmenter's.
        segmenter: a name or a file: the original weights, from which every cycle starts.
        cases: only these scans: names, or ``FILE.json`` or ``FILE.json:key``.
        held_out: scans that are never trained on and score the result; ``cycle`` needs them. Names among the labelled
            scans, a file of them as for ``cases``, or a folder of other labelled scans (of an nnU-Net dataset its
            ``imagesTs`` and ``labelsTs``).
        organs: only these structures.
        patients: scan to patient, or a JSON file of it; a scan that is not in it is a patient of its own.
        cycle: go on from an earlier call with the same ``output``: labels must have been added or corrected, and
            the file is replaced only where the new one has the better mean over the held-out patients.
        overwrite: begin anew where ``output`` exists.
        options: of the training.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        cache: folder that keeps the embeddings for the next cycle; they are deleted where None.
        on_progress: gets a line for each step.

    Returns:
        The number of epochs and the scores.

    Raises:
        UsageError: a name that is not there, fewer than two patients to train on, a patient who is held out and
            trained on, ``output`` exists, or in a cycle: nobody held out, nothing new, other original weights.
        TemplateError: a folder or label map cannot be used.
        WeightsError: the segmenter cannot be loaded.
        MedlsamError: the training diverged.
    """
    paths, output = [labelled] if isinstance(labelled, str | Path) else list(labelled), Path(output)
    say = on_progress or (lambda text: None)
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"{output}: the output is a weights file, name it *.safetensors")
    if cycle and overwrite:
        raise UsageError("cycle goes on from what is there, overwrite begins anew; give one of them")
    if not cycle and output.exists() and not overwrite:
        raise UsageError(f"{output} exists; go on from it with --cycle, or begin anew with --overwrite")
    if cycle and held_out is None:
        raise UsageError("a cycle is scored on held-out patients; say which scans these are with --held-out")
    where = resolve_device(device)
    history = read_history(output) if cycle else None
    trained, scored = split_labelled(paths, cases, organs, patients, held_out)
    original = in_window(load_segmenter(segmenter, where), options.window)
    tuner = tuner_of(original)
    tuner.check_name(output)
    history = history or History(original.spec.name, original.signature)
    trained_on = case_records(trained)
    new = new_since(history, trained_on)
    _check_cycle(history, original, scored, new, output)

    with _working_folders(output, cache) as (folder, embeddings):
        scans = embed_cases(tuner, original.signature, trained, embeddings, options, say)
        selection = select_epochs(tuner, scans, options, where, say)
        say(f"training on all {len(trained)} scans, {selection.epochs} epochs")
        decoder = train(tuner, scans, selection.epochs, options, where)
        candidate = folder / output.name
        tuner.save(decoder.module.to("cpu"), candidate)
        compared = None
        if scored:
            before = load_segmenter(output, where) if history.current else original
            compared = _compare(before, load_segmenter(candidate, where), scored, history, say)
        # Without held-out patients, and where it begins anew, there is nothing to be better than.
        better = compared is None or compared.patients.after[0] > compared.patients.before[0]
        replaced = better or not cycle
        record = _record(
            len(history.cycles) + 1, trained_on, new, scored, scans, selection, compared, options
        )
        record["replaced"] = replaced
        if replaced:
            record["sha256"] = sha256_of(candidate)
            os.replace(candidate, output)
    current = record["sha256"] if replaced else history.current
    write_history(output, History(history.segmenter, history.original, current, (*history.cycles, record)))
    return Finetuned(output, replaced, record["cycle"], tuple(new), selection, compared, record)


def _check_cycle(
    history: History, original: Segmenter, scored: Sequence[LabelledCase], new: Sequence[str], output: Path
) -> None:
    if not history.cycles:
        return
    if history.original != original.signature:
        raise UsageError(
            f"{output} began with other weights of {history.segmenter} (sha256 {history.original}); every cycle starts "
            f"from the same, and {original.spec.name} has {original.signature}"
        )
    if not new:
        raise UsageError(
            f"{output}: nothing is new since cycle {len(history.cycles)}; add corrected masks and run it again"
        )
    seen = history.trained_patients() & {case.patient for case in scored}
    if seen:
        raise UsageError(
            f"held_out: {', '.join(sorted(seen))} was trained on in an earlier cycle of {output}, so it cannot judge "
            "it; hold out others, or begin anew"
        )


@contextmanager
def _working_folders(output: Path, cache: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """Make a folder for the candidate and one for embeddings, beside the output where there is room."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".medlsam-finetune-") as name:
        yield Path(name), Path(cache) if cache is not None else Path(name) / "embeddings"


def _compare(
    before: Segmenter,
    after: Segmenter,
    scored: Sequence[LabelledCase],
    history: History,
    say: Callable[[str], None],
) -> HeldOut:
    """Score both files as in use: loaded from disk, on whole scans, with their own second looks."""
    say(f"scoring {len(scored)} held-out scans: before")
    old = score(before, (case.read() for case in scored))
    say(f"scoring {len(scored)} held-out scans: after")
    new = score(after, (case.read() for case in scored))
    against = "previous" if history.current else "original"
    by_patient = {patient: (old.patients[patient], new.patients[patient]) for patient in old.patients}
    return HeldOut(
        against, by_patient, compare(old.patients, new.patients), compare(old.components, new.components)
    )


def _record(
    number: int,
    trained_on: Mapping[str, Mapping[str, str]],
    new: Sequence[str],
    scored: Sequence[LabelledCase],
    scans: Sequence[EmbeddedScan],
    selection: Selection,
    compared: HeldOut | None,
    options: FinetuneOptions,
) -> dict[str, Any]:
    left_out = compare(
        {p: pair[0] for p, pair in selection.patients.items()},
        {p: pair[1] for p, pair in selection.patients.items()},
    )
    return {
        "cycle": number,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "medlsam": __version__,
        "options": asdict(options),
        "trained_on": {name: dict(own) for name, own in trained_on.items()},
        "new": list(new),
        "components": sum(len(scan.parts) for scan in scans),
        "epochs": selection.epochs,
        "left_out": {**left_out.to_dict(), "curve": [round(v, 4) for v in selection.curve]},
        "held_out": None
        if compared is None
        else {
            "cases": [case.name for case in scored],
            "against": compared.against,
            "by_patient": {p: [round(v, 4) for v in pair] for p, pair in compared.by_patient.items()},
            "patients": compared.patients.to_dict(),
            "components": compared.components.to_dict(),
        },
    }
