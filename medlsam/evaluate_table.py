"""The content of ``metrics.json`` as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from medlsam.scoring.scores import ROWS

_HEADS = {
    "located": "located",
    "oracle_box": "true box",
    "oracle_slices": "true slices",
    "shape_prior": "shape only",
}


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
    for name, organ in metrics["organs"].items():
        boxes = [_spread(organ["iou"], 2), _spread(organ["wall_distance_mm"], 1)]
        if paper:
            other = paper["organs"].get(name, {})
            boxes += [_spread(other.get("iou"), 2), _spread(other.get("wall_distance_mm"), 1)]
        counts = [str(organ["n"]), str(organ["missed"]), str(organ["false_found"])]
        table.add_row(name, *counts, *boxes, *_masks(organ["spread"]))
    mean = metrics["mean"]
    table.add_section()
    boxes = [_spread(mean["spread"]["iou"], 2), _spread(mean["spread"]["wall_distance_mm"], 1)]
    if paper:
        other = paper["mean"]["spread"]
        boxes += [_spread(other["iou"], 2), _spread(other["wall_distance_mm"], 1)]
    table.add_row("mean", str(mean["n"]), "", "", *boxes, *_masks(mean["spread"]), style="bold")
    return table


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
    total = sum(value or 0.0 for value in seconds.values())
    stages = ", ".join(f"{stage} {value or 0.0:.2f}" for stage, value in seconds.items())
    lines.append(f"{total:.2f} s per case: {stages}")
    if "random-start" in metrics:
        lines.append("paper: the paper's own search (random-start) with the same encoder")
    lines.append("± one standard deviation over cases; in the line of the mean, over structures")
    lines.append("a missed structure counts IoU, Dice and NSD 0 and has no wall distance or HD95")
    return "\n".join(lines)


def _spread(entry: Mapping[str, Any] | None, digits: int) -> str:
    """``mean ±std``, or a dash where there is no value."""
    if entry is None or entry.get("mean") is None:
        return "–"
    # Where a terminal is narrow the cell breaks at the blank, and the spread stands below its mean.
    return f"{entry['mean']:.{digits}f} ±{entry['std']:.{digits}f}"
