"""Distillation of a whole-slice model into ``sam-tiny``, on a user's own scans without labels.

The teacher segments boxes around regions without a name (and around located structures, where somebody gives these);
the student learns its masks, all of its weights. Held-out patients say how far it agrees with the teacher afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medlsam.errors import MedlsamError, UsageError
from medlsam.io.cases import Case, check_unique, find_cases, read_case
from medlsam.runtime.atomic_files import atomic_path, sha256_of
from medlsam.runtime.device import resolve_device
from medlsam.segment.distill.judge import FAULTS
from medlsam.segment.distill.labels import Labelling, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.prompts import LocatedPrompts, plan
from medlsam.segment.distill.record import compared, make_record, write_record
from medlsam.segment.distill.score import agreement
from medlsam.segment.distill.split import split
from medlsam.segment.distill.teacher import Teacher, least_iou, load_teacher
from medlsam.segment.distill.train import train
from medlsam.segment.finetune.labelled import Names, chosen_names, read_owners
from medlsam.segment.finetune.score import Comparison
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.volume import to_canonical
from medlsam.weights.fetch import resolve
from medlsam.weights.store import save_weights

_DEFAULT = DistillOptions()
_KIND = "scan"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Distilled:
    """The result of a distillation.

    Attributes:
        path: the segmenter file, for ``--segmenter FILE``.
        better: whether it agrees better with the teacher on the held-out patients than the weights before. The file is
            written all the same.
        exact: Dice with the teacher's masks before and after, one value a held-out patient; exact boxes.
        jittered: the same with boxes that are off.
        masks: number of ``kept`` masks, and of those dropped by fault (``low_iou``, ``empty``, ``fills_box``,
            ``leaves_box``).
        failed: scan to why it could not be used.
        cache: folder that keeps the teacher's masks for another run.
        record: content of the file beside the weights, JSON values.
    """

    path: Path
    better: bool
    exact: Comparison
    jittered: Comparison
    masks: Mapping[str, int]
    failed: Mapping[str, str]
    cache: Path
    record: Mapping[str, Any]


def distill(
    scans: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    teacher: str | Teacher,
    teacher_weights: str | Path | None = None,
    segmenter: str | Path = "sam-tiny",
    cases: Names | None = None,
    held_out: Names | None = None,
    patients: Mapping[str, str] | str | Path | None = None,
    located: LocatedPrompts | None = None,
    overwrite: bool = False,
    options: DistillOptions = _DEFAULT,
    device: str = "auto",
    cache: str | Path | None = None,
    on_progress: Say | None = None,
    on_note: Say | None = None,
) -> Distilled:
    """Train ``sam-tiny`` with a whole-slice model's masks on scans without labels.

    Args:
        scans: folders of scans, or single ones; see ``medlsam segment --images``.
        output: the file to write, ``*.safetensors``; ``<output>.history.json`` beside it tells how it came about.
        teacher: a whole-slice model of the registry (``sam_vit_b``, ``medsam_vit_b``, ...), or a model of your own.
        teacher_weights: file of the teacher; None where it is in the cache of weights, or can be downloaded.
        segmenter: ``sam-tiny`` or a file of one: the weights that the student begins with.
        cases: only these scans: names, or ``FILE.json`` or ``FILE.json:key``.
        held_out: scans that are not trained on and judge the result; a share of the patients, drawn at random, where
            None.
        patients: scan to patient, or a JSON file of it; a scan that is not in it is a patient of its own.
        located: finds boxes of structures in a scan (name, canonical image), which come before regions without a name.
        overwrite: begin anew where ``output`` exists.
        options: of labelling and training.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        cache: folder that keeps the teacher's masks and the checkpoint, from which a killed run goes on; by default
            ``<output>.teacher`` beside the output.
        on_progress: gets a line for each step.
        on_note: gets what a person should know: the time that the teacher takes, what was dropped, what failed.

    Raises:
        UsageError: a name that is not there, a teacher that is no whole-slice model, a student that is no
            ``sam-tiny``, ``output`` exists, too few scans or patients, or no mask that can be learned.
        WeightsError: weights cannot be loaded.
        MedlsamError: the training diverged.
    """
    output, say, note = Path(output), on_progress or _nobody, on_note or _nobody
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"{output}: the output is a weights file, name it *.safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; begin anew with --overwrite, or give another --output")
    where = resolve_device(device)
    found = _cases([scans] if isinstance(scans, str | Path) else scans, cases)
    names = [case.name for case in found]
    owners = read_owners(patients, names, _KIND)
    judges = None if held_out is None else chosen_names(held_out, names, "held_out", _KIND)
    if len({owners.get(name, name) for name in names}) < 2:
        raise UsageError(
            f"distillation needs scans of two patients, one to train on and one to judge by; there are "
            f"{len(names)} scan(s) of one; add another patient's scan"
        )
    start, student = _student(segmenter, where)
    large = load_teacher(teacher, teacher_weights, where) if isinstance(teacher, str) else teacher
    folder = Path(cache) if cache is not None else output.with_name(f"{output.name}.teacher")
    taught, failed, masks = _label(found, owners, student, large, folder, located, options, say, note)
    training, judging = split(taught, judges, options.held_out_share, options.seed)

    say(f"scoring {len(judging)} held-out scans: before")
    before = agreement(student, judging, options.seed)
    state, checkpoint = train(student, start, training, options, where, folder, say)
    with atomic_path(output) as candidate:
        save_weights(candidate, state, asdict(student.config), kind="segmenter")
        say(f"scoring {len(judging)} held-out scans: after")
        after = agreement(TinySegmenter.load(candidate, where), judging, options.seed)
    began = str(segmenter), student.signature
    record = make_record(large, began, training, judging, failed, masks, before, after, options)
    record["sha256"] = sha256_of(output)
    write_record(output, record)
    checkpoint.unlink(missing_ok=True)
    both = compared(before, after)
    return Distilled(output, record["better"], both["exact"], both["jittered"], masks, failed, folder, record)


def _student(segmenter: str | Path, where: torch.device) -> tuple[Path, TinySegmenter]:
    """Find and load the weights that the student begins with."""
    spec = SEGMENTERS.get(str(segmenter))
    if spec is not None and spec.kind != "crop":  # before it is downloaded
        raise UsageError(
            f"segmenter: the student is a sam-tiny, {spec.name} cannot be one; leave it out, or give a file of sam-tiny"
        )
    start = resolve(segmenter, "segmenter")
    return start, TinySegmenter.load(start, where)


def _cases(paths: Sequence[str | Path], chosen: Names | None) -> list[Case]:
    """Find the scans."""
    found = [case for path in paths for case in find_cases(path)]
    check_unique(found)
    if chosen is not None:
        names = chosen_names(chosen, [case.name for case in found], "cases", _KIND)
        found = [case for case in found if case.name in names]
    return sorted(found, key=lambda case: case.name)


def _label(
    found: Sequence[Case],
    owners: Mapping[str, str],
    student: TinySegmenter,
    teacher: Teacher,
    folder: Path,
    located: LocatedPrompts | None,
    options: DistillOptions,
    say: Say,
    note: Say,
) -> tuple[list[TaughtScan], dict[str, str], dict[str, int]]:
    """Let the teacher label all scans; a scan that cannot be used is noted, and the others go on.

    Returns:
        Scans with masks to learn; scan to why it is left out; masks kept, and dropped by fault.
    """
    most, least = options.slices_per_scan, least_iou(teacher, options.min_iou)
    labelling = Labelling(teacher, folder, student.config.neighbour_mm, most * len(found), note)
    taught: list[TaughtScan] = []
    failed: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for number, case in enumerate(found, start=1):
        left = f", {labelling.estimate()}" if labelling.seconds else ""
        say(f"teacher: {case.name}, {number} of {len(found)}{left}")
        began = labelling.slices_left
        try:
            scan = _labelled(case, owners, labelling, located, options)
        except MedlsamError as error:
            failed[case.name] = str(error)
            note(f"left out: {case.name}: {error}")
            labelling.slices_left = began - most
            continue
        scan.judge(least)
        dropped.update(scan.dropped)
        if scan.kept:
            taught.append(scan)
        else:
            failed[case.name] = f"none of the teacher's masks can be learned ({_counted(scan.dropped)})"
            note(f"left out: {case.name}: {failed[case.name]}")
    kept = sum(len(scan.kept) for scan in taught)
    note(
        f"{teacher.name}: {kept} masks of {len(taught)} scans to learn from; dropped: "
        f"{_counted(dropped) or 'none'}"
        + (f"; masks of {labelling.reused} scans were there already" if labelling.reused else "")
    )
    if not taught:
        raise UsageError(
            f"{teacher.name}: no scan has a mask that can be learned ({_counted(dropped) or 'no scan could be used'}); "
            f"the first: {next(iter(failed.values()))}; check that the weights are the teacher's, lower --min-iou "
            f"({least:g}), or give other scans"
        )
    return taught, failed, {"kept": kept, **dropped}


def _labelled(
    case: Case,
    owners: Mapping[str, str],
    labelling: Labelling,
    located: LocatedPrompts | None,
    options: DistillOptions,
) -> TaughtScan:
    """Label one scan.

    Raises:
        MedlsamError: it cannot be read, structures cannot be located in it, or there is no box in it.
    """
    image = to_canonical(read_case(case))
    rng = np.random.default_rng([options.seed, *case.name.encode()])
    planned = plan(image, options, rng, () if located is None else located(case.name, image))
    if not planned:
        raise UsageError(f"{case.path}: no slice has a region of 6 to 200 mm in a body; leave the scan out")
    owner = owners.get(case.name, case.name)
    return labelling.label(case.name, owner, image, planned, options.slices_per_scan)


def _counted(dropped: Mapping[Any, int]) -> str:
    return ", ".join(f"{dropped[fault]} {words}" for fault, words in FAULTS.items() if dropped.get(fault))


def _nobody(text: str) -> None:
    del text
