"""Answers of a search for structures whose truth is known, and the shares of each status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce
from medlsam.evaluation.reliability import NOT_THERE
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.results import Status
from medlsam.volume import Image

STATUSES = get_args(Status)
TRUTHS = ("absent", "halved", "present")


@dataclass(frozen=True)
class Answer:
    """What was said of one structure in one scan.

    Attributes:
        group: the kind of trial.
        scan: the scan, with what was done to it.
        structure: the structure.
        truth: ``absent``, ``halved`` or ``present``.
        status: of the answer.
        confidence: of the answer.
        details: the numbers that led to them.
    """

    group: str
    scan: str
    structure: str
    truth: str
    status: str
    confidence: float
    details: Mapping[str, float] = field(default_factory=dict)


def ask(
    localizer: SeenOnce,
    templates: TemplateSet,
    volume: Image,
    group: str,
    scan: str,
    truth: Mapping[str, str],
) -> list[Answer]:
    """Locate the structures whose truth is known, and keep what was said of them.

    Args:
        localizer: finds structures; it remembers the scan.
        templates: what to look for.
        volume: the scan.
        group: the kind of trial.
        scan: the scan's name.
        truth: structure to ``absent``, ``halved`` or ``present``; others are not looked for.
    """
    structures = [name for name in templates.structures if name in truth]
    if not structures:
        return []
    found = locate(localizer.embed(volume), templates.select(structures))
    return [
        Answer(
            group, scan, name, truth[name], found[name].status, found[name].confidence, found[name].details
        )
        for name in structures
    ]


def shares(answers: Sequence[Answer]) -> dict[str, Any]:
    """``n``, the share of each status, and ``not_there``: called missing or out of view."""
    n = len(answers)
    result: dict[str, Any] = {"n": n}
    for status in STATUSES:
        result[status] = round(sum(a.status == status for a in answers) / n, 4) if n else None
    result["not_there"] = round(sum(a.status in NOT_THERE for a in answers) / n, 4) if n else None
    return result


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """``groups``: by truth and group; ``in_all``: by truth, real scans and phantoms apart."""
    groups = {
        f"{truth}: {group}": shares([a for a in answers if (a.group, a.truth) == (group, truth)])
        for truth in TRUTHS
        for group in dict.fromkeys(a.group for a in answers if a.truth == truth)
    }
    in_all = {}
    for truth in ("absent", "present"):
        own = [a for a in answers if a.truth == truth]
        in_all[f"{truth}, real scans"] = shares([a for a in own if not a.group.startswith("phantom")])
        in_all[f"{truth}, phantoms"] = shares([a for a in own if a.group.startswith("phantom")])
        in_all[truth] = shares(own)
    return {"groups": groups, "in_all": in_all}


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The shares by group, and in all."""
    by_group = Table(title="status by truth and group", box=SIMPLE_HEAD)
    for head in ("truth: group", "n", *STATUSES):
        by_group.add_column(head, justify="left" if head == "truth: group" else "right")
    for name, entry in result["groups"].items():
        by_group.add_row(name, str(entry["n"]), *(_percent(entry[status]) for status in STATUSES))
    in_all = Table(title="called missing or out_of_view", box=SIMPLE_HEAD)
    for head in ("structures", "n", "share"):
        in_all.add_column(head, justify="left" if head == "structures" else "right")
    for name, entry in result["in_all"].items():
        in_all.add_row(name, str(entry["n"]), _percent(entry["not_there"]))
    return [by_group, in_all]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
