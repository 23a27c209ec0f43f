"""The content of ``metrics.json`` as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from medlsam.evaluation.reliability import STATUSES
from medlsam.evaluation.scores import ROWS
from medlsam.evaluation.searches import OTHER_STAGES, OWN_COARSE, PAPER, PAPER_COARSE
from medlsam.geometry import FACES

_HEADS = {
    "located": "located",
    "oracle_box": "true box",
    "oracle_slices": "true slices",
    "shape_prior": "shape only",
}


def format_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """All tables, the figures of the contract first.

    Args:
        metrics: what ``evaluate`` returned or wrote.
    """
    tables = [format_table(metrics), format_reliability(metrics), format_faces(metrics)]
    return [*tables, format_searches(metrics)] if "random-start" in metrics else tables


def format_table(metrics: Mapping[str, Any]) -> Table:
    """One line per structure and one for the mean over structures; spreads are standard deviations.

    Args:
        metrics: what ``evaluate`` returned or wrote. With a ``random-start`` block two columns are added.
    """
    paper = metrics.get("random-start")
    failed = len(metrics.get("failed", {}))
    title = f"{metrics['cases']} cases" + (f", {failed} failed" if failed else "")
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=_caption(metrics))
    table.add_column("structure", no_wrap=True)
    for head in ("n", "missed", "false found"):
        table.add_column(head, justify="right", min_width=6 if head == "missed" else None)
    for head in ("box IoU", "wall mm", *(("paper IoU", "paper wall mm") if paper else ())):
        table.add_column(head, justify="right")
    for row in ROWS:
        table.add_column(f"Dice {_HEADS[row]}", justify="right")
    for head in ("HD95 mm located", "NSD located"):
        table.add_column(head, justify="right")
    for name, structure in metrics["organs"].items():
        boxes = [_spread(structure["iou"], 2), _spread(structure["wall_distance_mm"], 1)]
        if paper:
            other = paper["organs"].get(name, {})
            boxes += [_spread(other.get("iou"), 2), _spread(other.get("wall_distance_mm"), 1)]
        counts = [str(structure["n"]), str(structure["missed"]), str(structure["false_found"])]
        table.add_row(name, *counts, *boxes, *_masks(structure["spread"]))
    mean = metrics["mean"]
    table.add_section()
    boxes = [_spread(mean["spread"]["iou"], 2), _spread(mean["spread"]["wall_distance_mm"], 1)]
    if paper:
        other = paper["mean"]["spread"]
        boxes += [_spread(other["iou"], 2), _spread(other["wall_distance_mm"], 1)]
    table.add_row("mean", str(mean["n"]), "", "", *boxes, *_masks(mean["spread"]), style="bold")
    return table


def format_reliability(metrics: Mapping[str, Any]) -> Table:
    """Status, margin and confidence of the answers against the truth, one line per structure."""
    table = Table(title="how far the answers can be trusted", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = (
        "structures that are in the scan, by status; within: faces of found structures whose true place is at "
        "most the\npromised margin away; reached: faces that the box with its margin reaches; rho: rank "
        "correlation of confidence and IoU\n(in the last line over all answers; mean of the structures' own: "
        f"{_spread(metrics['mean']['confidence_rank_correlation']['within_structures'], 2)})"
    )
    table.add_column("structure", no_wrap=True)
    for head in ("n", *(status.replace("_", " ") for status in STATUSES), "false missing"):
        table.add_column(head, justify="right")
    for head in ("faces", "within", "reached", "margin mm", "rho"):
        table.add_column(head, justify="right")
    for name, structure in metrics["organs"].items():
        table.add_row(name, str(structure["n"]), *_reliability(structure))
    table.add_section()
    table.add_row("all", str(metrics["mean"]["scored"]), *_reliability(metrics["mean"]), style="bold")
    return table


def format_faces(metrics: Mapping[str, Any]) -> Table:
    """Mean error of each face: outwards, and its size."""
    table = Table(title="errors of the faces, mm", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = "mean outward error (positive: the box is too large there), and mean size of the error"
    table.add_column("structure", no_wrap=True)
    for face in FACES:
        table.add_column(face, justify="right", no_wrap=True)
    for name, structure in metrics["organs"].items():
        table.add_row(name, *_faces(structure["face_error_mm"]))
    table.add_section()
    table.add_row("all", *_faces(metrics["mean"]["face_error_mm"]), style="bold")
    return table


def format_searches(metrics: Mapping[str, Any]) -> Table:
    """The evaluated search beside the paper's mode, both with and without their refinement.

    Args:
        metrics: with a ``random-start`` block.
    """
    table = Table(title="searches, on the same encoder", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = (
        "boxes as located; ± one standard deviation over structures; seconds of the search alone, "
        "in a scan that is embedded already"
    )
    table.add_column("search", no_wrap=True)
    for head in ("box IoU", "wall mm", "seconds"):
        table.add_column(head, justify="right")
    paper, seconds = metrics[PAPER], metrics["seconds_spread"]
    rows = (
        (metrics["options"]["search"], metrics["as_located"]["mean"], "locate"),
        (
            f"{metrics['options']['search']}, coarse only",
            metrics[OWN_COARSE]["mean"],
            OTHER_STAGES[OWN_COARSE],
        ),
        ("random-start (the paper's)", paper["mean"], OTHER_STAGES[PAPER]),
        ("random-start, coarse only", paper["coarse_only"]["mean"], OTHER_STAGES[PAPER_COARSE]),
    )
    for name, mean, stage in rows:
        spread = mean["spread"]
        table.add_row(
            name,
            _spread(spread["iou"], 2),
            _spread(spread["wall_distance_mm"], 1),
            _spread(seconds.get(stage), 2),
        )
    return table


def _reliability(entry: Mapping[str, Any]) -> list[str]:
    """The cells of one line of ``format_reliability``."""
    kept, rho = entry["coverage"], entry["confidence_rank_correlation"]["rho"]
    return [
        *(_percent(entry["status_shares"][status]) for status in STATUSES),
        _percent(entry["false_missing"]),
        str(kept["n"]),
        _percent(kept["within"]),
        _percent(kept["reached"]),
        _spread(kept["margin_mm"], 1),
        "–" if rho is None else f"{rho:.2f}",
    ]


def _faces(errors: Mapping[str, Any]) -> list[str]:
    """The cells of one line of ``format_faces``."""
    pairs = [(errors[face]["signed"]["mean"], errors[face]["absolute"]["mean"]) for face in FACES]
    return ["–" if signed is None else f"{signed:+.1f}, {absolute:.1f}" for signed, absolute in pairs]


def _masks(spread: Mapping[str, Any]) -> list[str]:
    """The cells of the mask figures."""
    located = [_spread(spread["hd95_mm"]["located"], 1), _spread(spread["nsd"]["located"], 2)]
    return [_spread(spread["dice"][row], 2) for row in ROWS] + located


def _caption(metrics: Mapping[str, Any]) -> str:
    """Seconds, and the two comparisons that a reader must not miss."""
    lines = []
    dice = metrics["mean"]["dice"]
    if dice["located"] is not None and dice["shape_prior"] is not None:
        verdict = "beats" if dice["located"] > dice["shape_prior"] else "DOES NOT BEAT"
        lines.append(f"segmentation {verdict} the templates' mean shape alone")
    seconds = metrics["seconds_per_case"]
    own = {stage: value or 0.0 for stage, value in seconds.items() if stage not in OTHER_STAGES.values()}
    total = sum(own.values())
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in own.items())
    lines.append(f"{total:.2f} s per case: {stages}")
    if "random-start" in metrics:
        lines.append("paper: the paper's own search (random-start) with the same encoder")
    lines.append("± one standard deviation over cases; in the line of the mean, over structures")
    lines.append("a missed structure counts IoU, Dice and NSD 0 and has no wall distance or HD95")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _spread(entry: Mapping[str, Any] | None, digits: int) -> str:
    """``mean ±std``, or a dash where there is no value."""
    if entry is None or entry.get("mean") is None:
        return "–"
    # Where a terminal is narrow the cell breaks at the blank, and the spread stands below its mean.
    return f"{entry['mean']:.{digits}f} ±{entry['std']:.{digits}f}"
