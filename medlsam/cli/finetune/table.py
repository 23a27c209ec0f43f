"""Dice before and after a training, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def to_table(record: Any) -> Table:
    """Dice before and after, of a cycle's record."""
    held_out = record["held_out"]
    rows = {"patients left out in turn": record["left_out"]}
    if held_out is not None:
        rows["held-out patients"] = held_out["patients"]
        rows["their 2D components"] = held_out["components"]
    table = _table(
        f"cycle {record['cycle']}: {len(record['trained_on'])} scans, {record['epochs']} epochs",
        "Dice with true slice boxes",
        rows,
    )
    table.caption = (
        "mean ± standard deviation. Left out in turn: in 2D crops, by decoders without that patient; the epochs were "
        "chosen by this row, so it is a little too good. Components of one scan are alike: their p is too small."
    )
    return table


def agreement_table(record: Any) -> Table:
    """Agreement with a teacher before and after, of a distillation's record."""
    masks = record["masks"]
    rows = {kind: record["agreement"][kind] for kind in ("exact", "jittered")}
    table = _table(
        f"{record['teacher']['name']}: {masks['kept']} masks of {len(record['trained_on'])} scans to train on and "
        f"{len(record['held_out'])} held out, {record['options']['steps']} steps",
        "Dice with the teacher's masks, held-out patients",
        {f"{kind} boxes": own for kind, own in rows.items()},
    )
    table.caption = (
        "mean ± standard deviation over patients: how far the student does as its teacher, not who is right"
    )
    return table


def _table(title: str, first: str, rows: Mapping[str, Any]) -> Table:
    table = Table(title=title)
    for head in (first, "n", "before", "after", "Wilcoxon p"):
        table.add_column(head, justify="left" if head == first else "right")
    for name, row in rows.items():
        before, after = (f"{row[side]['mean']:.3f} ±{row[side]['std']:.3f}" for side in ("before", "after"))
        table.add_row(name, str(row["n"]), before, after, f"{row['wilcoxon_p']:.3g}")
    return table
