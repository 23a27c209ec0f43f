"""What both comparisons share: the scans, our answers, answers that are kept between runs, and the tables."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import listed_cases, progress, spread
from medlsam.errors import UsageError
from medlsam.evaluation.references import CaseReference, References, find_references
from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template
from medlsam.measure.metrics import dice
from medlsam.measure.summary import summarize
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.runtime.atomic_files import atomic_path, write_json

#: Where answers are kept by default: git ignores it.
KEPT = Path(".pool/peers")
OURS = "medlsam"


@dataclass(frozen=True)
class Scored:
    """One way's answer in one scan.

    Attributes:
        dice: structure to Dice, of the structures that are complete in the scan; 0 where missed.
        seconds: of processor time, from the scan in memory to its label map.
    """

    dice: Mapping[str, float]
    seconds: float


#: Case to answer.
Answers = Mapping[str, Scored]


@dataclass(frozen=True)
class Task:
    """Which scans are to be labelled with which templates.

    Attributes:
        folder: of the data set (``openkbp``).
        templates: the labelled scans, read.
        names: label value to structure.
        cases: the scans.
        references: their labels, for the scores alone.
    """

    folder: Path
    templates: Sequence[Template]
    names: Mapping[int, str]
    cases: Sequence[Case]
    references: References

    @classmethod
    def read(cls, ct: Path, cases: int, choose: bool) -> Task:
        """The five templates, and the first ``cases`` of `val`; the last two of `pretrain` where ``choose``.

        Raises:
            MedlsamError: the data set is not there, or not whole.
        """
        folder = ct / "openkbp"
        found, names = choose_templates(folder / "templates")
        listed = listed_cases(
            folder / "imagesTr", f"{folder}/splits.json:{'pretrain' if choose else 'val'}", 0
        )
        if cases < 1:
            raise UsageError(f"--cases {cases}: at least one scan is needed")
        return cls(
            folder,
            list(read_templates(found, names)),
            names,
            listed[-2:] if choose else listed[:cases],
            find_references(folder / "labelsTr"),
        )

    @property
    def structures(self) -> list[str]:
        """In the order of their values."""
        return [name for _, name in sorted(self.names.items())]


def score(labels: NDArray[Any], reference: CaseReference, names: Mapping[int, str]) -> dict[str, float]:
    """Dice of the structures that are complete in a scan.

    Args:
        labels: (Z, Y, X) on the scan's grid, an answer.
        reference: the scan's labels.
        names: label value to structure, of the answer.
    """
    values = {name: value for value, name in names.items()}
    whole = reference.labels.array
    return {
        name: dice(labels == values[name], np.asarray(whole == value))
        for name, value in reference.values.items()
        if name in values
    }


class Kept:
    """Arrays on disk, so that a stopped run goes on and a finished one is read back.

    Args:
        folder: for all ways.
        name: of this way.
        settings: JSON; other settings get a folder of their own, so that answers never mix.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True)
        self.folder = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self.settings = settings

    def read(self, case: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of a case by name; None where none are kept."""
        path = self.folder / f"{case}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def write(self, case: str, **arrays: Any) -> None:
        """Keep the arrays of a case."""
        write_json(self.folder / "settings.json", self.settings)
        with atomic_path(self.folder / f"{case}.npz") as path:
            np.savez_compressed(path, **arrays)


def ours(model: MedLSAM, task: Task) -> tuple[Answers, float]:
    """Our answers, and the processor seconds that the templates took."""
    start = time.process_time()
    templates = model.templates(task.folder / "templates")
    before = time.process_time() - start
    _ = model.segmenter  # loaded now, not in the first scan's seconds
    answers = {}
    for case in task.cases:
        image = read_image(case.path)
        start = time.process_time()
        labels = model.segment(image, templates, case=case.name).labels
        seconds = time.process_time() - start
        answers[case.name] = Scored(
            score(labels.array, task.references.read(case.name, image), task.names), seconds
        )
        progress(f"{OURS}: {case.name}, {seconds:.1f} s")
    return answers, before


def by_structure(answers: Answers) -> dict[str, list[float]]:
    """Structure to the Dice of its scans."""
    names = dict.fromkeys(name for own in answers.values() for name in own.dice)
    return {name: [own.dice[name] for own in answers.values() if name in own.dice] for name in names}


def across(answers: Answers) -> float:
    """The mean over structures of their means over scans, so that each structure weighs the same."""
    return float(np.mean([np.mean(values) for values in by_structure(answers).values()]))


def by_scan(answers: Answers) -> dict[str, float]:
    """Case to the mean Dice of its structures; scans without a structure to score are left out."""
    return {case: float(np.mean(list(own.dice.values()))) for case, own in answers.items() if own.dice}


def paired(first: Answers, second: Answers) -> dict[str, float]:
    """The scans' mean Dice of the first way minus the second's.

    Returns:
        ``mean``, its ``standard_error`` (nan for one scan), in how many scans the first is ``better``, and ``n``.
    """
    ahead, behind = by_scan(first), by_scan(second)
    off = np.array([ahead[case] - behind[case] for case in ahead])
    error = float(off.std(ddof=1) / np.sqrt(len(off))) if len(off) > 1 else float("nan")
    return {
        "mean": float(off.mean()), "standard_error": error, "better": int((off > 0).sum()), "n": len(off),
    }  # fmt: skip


def tables(ways: Mapping[str, Answers], before: Mapping[str, str], order: Sequence[str]) -> list[Table]:
    """Dice and seconds of every way, and how far the first way is ahead of the others.

    Args:
        ways: name to answers in the same scans; ours first.
        before: name to what it takes before the first scan.
        order: of the structures.
    """
    first, *others = ways
    own = {name: by_structure(answers) for name, answers in ways.items()}
    made = Table(
        title=f"Dice of {len(ways[first])} scans, five templates", box=SIMPLE_HEAD,
        caption="mean ± standard deviation over scans; a structure that is missed counts 0",
    )  # fmt: skip
    for head in ("structure", "n", *ways):
        made.add_column(head, justify="left" if head == "structure" else "right")
    for name in (name for name in order if name in own[first]):
        made.add_row(name, str(len(own[first][name])), *(spread(own[way][name]) for way in ways))
    made.add_section()
    made.add_row(
        "mean of structures", "", *(f"{across(answers):.3f}" for answers in ways.values()), style="bold"
    )
    per_scan = {way: list(by_scan(answers).values()) for way, answers in ways.items()}
    made.add_row(
        "mean of a scan", str(len(per_scan[first])), *(spread(values, 3) for values in per_scan.values())
    )
    seconds = {way: [one.seconds for one in answers.values()] for way, answers in ways.items()}
    made.add_row(
        "processor seconds a scan", str(len(ways[first])), *(spread(own, 1) for own in seconds.values())
    )
    made.add_row("before the first scan", "", *(before[way] for way in ways))
    ahead = Table(
        title=f"Mean Dice of a scan: {first} minus the other way", box=SIMPLE_HEAD,
        caption="mean ± standard error over scans",
    )  # fmt: skip
    for head in ("other way", "difference", f"{first} better in"):
        ahead.add_column(head, justify="left" if head == "other way" else "right")
    for way in others:
        found = paired(ways[first], ways[way])
        ahead.add_row(
            way, f"{found['mean']:+.3f} ±{found['standard_error']:.3f}", f"{found['better']} of {found['n']}"
        )
    return [made, ahead]


def document(ways: Mapping[str, Answers], before: Mapping[str, str], model: MedLSAM) -> dict[str, Any]:
    """The figures behind the tables, as JSON."""
    first, *others = ways
    return {
        "weights": {"localizer": model.localizer_weights, "segmenter": model.segmenter_weights},
        "answers": {
            way: {case: asdict(own) for case, own in answers.items()} for way, answers in ways.items()
        },
        "by_structure": {
            way: {name: summarize(values) for name, values in by_structure(answers).items()}
            for way, answers in ways.items()
        },
        "mean_of_structures": {way: across(answers) for way, answers in ways.items()},
        "mean_of_a_scan": {way: summarize(by_scan(answers).values()) for way, answers in ways.items()},
        "processor_seconds": {
            way: summarize(own.seconds for own in answers.values()) for way, answers in ways.items()
        },
        "before_the_first_scan": dict(before),
        "paired": {
            way: {k: None if np.isnan(v) else v for k, v in paired(ways[first], ways[way]).items()}
            for way in others
        },
    }
