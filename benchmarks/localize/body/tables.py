"""Tables of answers: boxes and faces, statuses and what they promise, phases, Dice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.localize.body.cases import FAR_MM, Finding
from benchmarks.localize.body.phases import Matched
from benchmarks.localize.status.answers import STATUSES
from medlsam.evaluation.scores import ROWS
from medlsam.geometry import FACES
from medlsam.measure.summary import summarize

Groups = Mapping[str, Sequence[Finding]]


def pair_means(findings: Sequence[Finding], figure: Callable[[Finding], float]) -> list[float]:
    """The mean of a figure over the draws of each scan and structure: draws of one pair are no more patients."""
    pairs: dict[tuple[str, str], list[float]] = {}
    for f in findings:
        pairs.setdefault((f.query, f.structure), []).append(figure(f))
    return [float(np.mean(values)) for values in pairs.values()]


def box_figures(findings: Sequence[Finding]) -> dict[str, Any]:
    """Means over the draws, one for each scan and structure that is whole: ``iou``, ``scored``, ``wall``, ``faces``."""
    whole = [f for f in findings if not f.cut and f.faces_mm]
    return {
        "answers": len(whole),
        "iou": pair_means(whole, lambda f: f.iou),
        "scored": pair_means(whole, lambda f: f.scored_iou),
        "wall": pair_means(whole, lambda f: f.wall_mm),
        "center": pair_means(whole, lambda f: f.center_mm),
        "faces": [pair_means(whole, lambda f, i=i: abs(f.faces_mm[i])) for i in range(6)],  # type: ignore[misc]
    }


def reliability(findings: Sequence[Finding]) -> dict[str, Any]:
    """What statuses, margins and confidence are worth.

    Returns:
        ``present`` and ``cut``: status to count; ``far`` and ``far_found``: answers with a box more than 25 mm off, and
        those of them called found; ``faces`` and ``faces_within``: of the answers that give a box; ``rank``: Spearman's
        correlation of confidence with box IoU, None for fewer than three answers or equal ones.
    """
    whole = [f for f in findings if not f.cut]
    far = [f for f in whole if f.center_mm > FAR_MM]
    within = [
        abs(error) <= margin
        for f in whole
        if f.given
        for error, margin in zip(f.faces_mm, f.margins_mm, strict=True)
    ]
    confidence, iou = [f.confidence for f in whole], [f.iou for f in whole]
    varied = len(whole) > 2 and len(set(confidence)) > 1 and len(set(iou)) > 1
    return {
        "present": {status: sum(f.status == status for f in whole) for status in STATUSES},
        "cut": {status: sum(f.status == status for f in findings if f.cut) for status in STATUSES},
        "far": len(far),
        "far_found": sum(f.status == "found" for f in far),
        "faces": len(within),
        "faces_within": sum(within),
        "rank": round(float(spearmanr(confidence, iou).statistic), 3) if varied else None,
    }


def answers_table(title: str, findings: Sequence[Finding]) -> Table:
    """One line for each answer about a structure that lies whole in the scan, and the mean."""
    whole = [f for f in findings if not f.cut]
    made = _table(
        title,
        "faces: located minus true, mm; mean and standard deviation over answers, for faces of the absolute errors",
        ("scan", "structure", "templates", "status"),
        ("confidence", "box IoU", "wall mm", "centre mm", *FACES),
    )
    for f in whole:
        made.add_row(
            f.query, f.structure, str(len(f.templates)), f.status, f"{f.confidence:.2f}", f"{f.iou:.2f}",
            f"{f.wall_mm:.1f}", f"{f.center_mm:.1f}", *(f"{e:+.1f}" for e in f.faces_mm or ()),
        )  # fmt: skip
    figures = box_figures(whole)
    columns = [
        [f.confidence for f in whole],
        *(figures[key] for key in ("iou", "wall", "center")),
        *figures["faces"],
    ]
    summaries = [summarize(column) for column in columns]
    made.add_section()
    for head, key in ((f"mean, n = {len(whole)}", "mean"), ("± standard deviation", "std")):
        cells = [_number(entry[key], 2 if place < 2 else 1) for place, entry in enumerate(summaries)]
        made.add_row(head, "", "", "", *cells)
    return made


def boxes_table(title: str, groups: Groups, structures: Sequence[str]) -> Table:
    """One line for each number of templates and structure.

    Args:
        title: of the table.
        groups: number of templates to answers.
        structures: in their order.
    """
    made = _table(
        title,
        "n: scans and structures; mean ± standard deviation over them, of their means over draws; boxes count whatever "
        "their status, in IoU as scored a structure that is called missing counts 0; faces: absolute error, mm",
        ("templates", "structure"),
        ("n", "answers", "box IoU", "IoU as scored", "wall mm", *FACES),
    )
    for way, findings in groups.items():
        for name in (*structures, ""):
            figures = box_figures([f for f in findings if f.structure == name or not name])
            if figures["answers"]:
                made.add_row(
                    way, name or "together", str(len(figures["iou"])), str(figures["answers"]),
                    _spread(figures["iou"]), _spread(figures["scored"]), _spread(figures["wall"], 1),
                    *(_spread(e, 1) for e in figures["faces"]), style="" if name else "bold",
                )  # fmt: skip
        made.add_section()
    return made


def status_table(title: str, groups: Groups) -> Table:
    """One line for each group: statuses of present and of cut-off structures, and what is promised beside them."""
    made = _table(
        title,
        f"statuses: answers that are {' / '.join(STATUSES)}; far: centre more than {FAR_MM:.0f} mm off; faces: of "
        "answers that give a box; rank: Spearman, confidence with box IoU",
        ("templates",),
        ("present", "statuses", "called missing", "far", "far, found", "faces in margin", "rank",
         "cut off", "statuses of cut"),
    )  # fmt: skip
    for name, findings in groups.items():
        r = reliability(findings)
        present, cut = sum(r["present"].values()), sum(r["cut"].values())
        made.add_row(
            name, str(present), _counts(r["present"]), _share(r["present"]["missing"], present),
            _share(r["far"], present), f"{r['far_found']} of {r['far']}", _share(r["faces_within"], r["faces"]),
            "–" if r["rank"] is None else f"{r['rank']:+.2f}", str(cut), _counts(r["cut"]),
        )  # fmt: skip
    return made


def phase_tables(pairs: Sequence[tuple[Finding, Finding]], places: Sequence[Matched]) -> list[Table]:
    """Boxes in two phases of one patient, and places of one phase found in the other."""
    boxes = _table(
        "box in the labelled phase and in another one, templates of the five other patients",
        "mean ± standard deviation over pairs of phases; the labelled phase enters once for each pair",
        ("labelled", "other", "structure", "status", "status there"),
        ("IoU", "IoU there", "difference", "wall mm", "wall mm there"),
    )
    for own, there in pairs:
        boxes.add_row(
            own.query, there.query, own.structure, own.status, there.status, f"{own.iou:.2f}", f"{there.iou:.2f}",
            f"{there.iou - own.iou:+.2f}", f"{own.wall_mm:.1f}", f"{there.wall_mm:.1f}",
        )  # fmt: skip
    boxes.add_section()
    columns = list(zip(*pairs, strict=True)) if pairs else [(), ()]
    boxes.add_row(
        f"mean, n = {len(pairs)}", "", "", "", "", *(_spread([f.iou for f in column]) for column in columns),
        _spread([there.iou - own.iou for own, there in pairs]),
        *(_spread([f.wall_mm for f in column], 1) for column in columns),
    )  # fmt: skip
    found = _table(
        "body places of one phase found in the other, mm from the true place",
        "n: places; last lines: mean ± standard deviation over directions",
        ("features of", "searched in"),
        ("n", "median", "90th percentile"),
    )
    for same in (False, True):
        directions = [m for m in places if (m.source == m.target) == same]
        # A scan that is in two pairs is searched in itself twice, at nearly the same places.
        directions = list({(m.source, m.target): m for m in directions}.values())
        levels = [np.percentile(m.distances_mm, (50, 90)) for m in directions]
        for m, (middle, high) in zip(directions, levels, strict=True):
            found.add_row(m.source, m.target, str(len(m.distances_mm)), f"{middle:.1f}", f"{high:.1f}")
        found.add_section()
        found.add_row(
            f"mean of {len(directions)}", "itself" if same else "the other phase",
            str(sum(len(m.distances_mm) for m in directions)),
            *(_spread([float(level[i]) for level in levels], 1) for i in range(2)), style="bold",
        )  # fmt: skip
        found.add_section()
    return [boxes, found]


def dice_table(title: str, rows: Sequence[Mapping[str, str]], structures: Sequence[str]) -> Table:
    """Dice of the rows of `medlsam evaluate`, by structure.

    Args:
        title: of the table.
        rows: lines of ``cases.csv``.
        structures: in their order.
    """
    made = _table(
        title,
        "mean ± standard deviation over scans (together: over scans and structures); missing counts 0",
        ("structure",),
        ("n", "box IoU", "wall mm", *(f"Dice {row}" for row in ROWS)),
    )
    for name in (*structures, ""):
        own = [row for row in rows if row["organ"] == name or not name]
        columns = ["iou", "wall_distance_mm", *(f"dice_{row}" for row in ROWS)]
        cells = [
            _spread([float(row[c] or "nan") for row in own], 1 if c == "wall_distance_mm" else 2)
            for c in columns
        ]
        if own:
            made.add_row(name or "together", str(len(own)), *cells, style="" if name else "bold")
    return made


def _table(title: str, caption: str, left: Sequence[str], right: Sequence[str]) -> Table:
    made = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in left:
        made.add_column(head, no_wrap=True)
    for head in right:
        made.add_column(head, justify="right")
    return made


def _counts(counts: Mapping[str, int]) -> str:
    return " / ".join(str(counts[status]) for status in STATUSES)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f", {100 * part / whole:.0f} %" if whole else "")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation; one value has none."""
    entry = summarize(values)
    more = f" ±{entry['std']:.{digits}f}" if entry["n"] > 1 else ""
    return _number(entry["mean"], digits) + more
