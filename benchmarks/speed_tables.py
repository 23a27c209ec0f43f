"""What ``benchmarks/speed.py`` measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.meter import Meter

PHASES = (
    "read templates", "embed templates", "read", "resample", "embed", "locate", "prepare", "encode", "decode",
    "assemble", "write",
)  # fmt: skip


@dataclass
class Column:
    """What one process measured.

    Attributes:
        seconds: by phase.
        guessed: the phases among them that are extrapolated.
        peak: GB.
        passes: of a network: scans, cubes, crops or slices.
        gflop: of a network.
        rate: of a network, GFLOP/s.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)
    peak: float = 0.0
    passes: dict[str, float] = field(default_factory=dict)
    gflop: dict[str, float] = field(default_factory=dict)
    rate: dict[str, float] = field(default_factory=dict)

    def meter(self, name: str, meter: Meter, times: float = 1.0) -> None:
        """Note what a meter saw, multiplied where it saw a sample."""
        self.passes[name] = meter.items * times
        self.gflop[name] = meter.gflop * times
        self.rate[name] = meter.gflop / meter.seconds if meter.seconds else 0.0

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {**vars(self), "guessed": sorted(self.guessed), "total_s": self.total}


def table_of(columns: dict[str, Column], rates: dict[str, float], title: str) -> Table:
    """Seconds by phase, then the rest, one column for each way."""
    table = Table(title=title, box=SIMPLE_HEAD, caption="~ extrapolated, see the script")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for phase in PHASES:
        cells = []
        for column in columns.values():
            known = column.seconds.get(phase)
            mark = "~" if phase in column.guessed else ""
            cells.append("" if known is None else f"{mark}{known:.2f}")
        table.add_row(f"{phase}, s", *cells)
    table.add_row("total, s", *[f"{column.total:.1f}" for column in columns.values()], end_section=True)
    table.add_row("peak memory, GB", *[f"{column.peak:.2f}" for column in columns.values()])
    for name in ("localizer", "encoder", "decoder"):
        table.add_row(
            f"{name}: passes, GFLOP",
            *[
                f"{c.passes[name]:.0f}" + (f", {c.gflop[name]:.0f}" if name in c.gflop else "")
                if name in c.passes
                else ""
                for c in columns.values()
            ],
        )
    for name in ("localizer", "encoder"):
        for dtype, rate in rates.items():
            table.add_row(
                f"{name}: of {dtype} products",
                *[f"{c.rate[name] / rate:.0%}" if name in c.rate else "" for c in columns.values()],
            )
    return table


def ratios_of(
    columns: Mapping[str, Column], pairs: Mapping[str, tuple[str, str]], overlap: Mapping[str, list[float]]
) -> tuple[Table, dict[str, list[float]]]:
    """How many times faster ours is, for each network; with the templates' share of the published order and without.

    Args:
        columns: name to what was measured.
        pairs: network to the names of the published column and of ours.
        overlap: network to the mean and the least Dice of the masks of both.
    """
    table, ratios = Table(box=SIMPLE_HEAD), {}
    heads = (
        "",
        "published, s",
        "ours, s",
        "times",
        "templates at hand, times",
        "Dice of both, mean",
        "least",
    )
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for kind, (theirs, mine) in pairs.items():
        before, after = columns[theirs], columns[mine]
        at_hand = before.total - sum(before.seconds[p] for p in ("read templates", "embed templates"))
        ratios[kind] = [before.total / after.total, at_hand / after.total]
        numbers = (before.total, after.total, *ratios[kind])
        table.add_row(kind, *(f"{v:.1f}" for v in numbers), *(f"{v:.4f}" for v in overlap[kind]))
    return table, ratios


def structures_of(ours: Column, many: int) -> tuple[Table, dict[str, float]]:
    """What ``many`` structures cost to locate beside one, the scan's reading and embedding included."""
    base = ours.seconds["read"] + ours.seconds["embed"]
    one, all_ = (base + ours.passes[f"locate {count}, s"] for count in (1, many))
    table = Table(box=SIMPLE_HEAD)
    for head in ("read and embed, s", "and 1 structure", f"and {many}", "times", "s a structure"):
        table.add_column(head, justify="right")
    each = (all_ - one) / (many - 1)
    table.add_row(f"{base:.2f}", f"{one:.2f}", f"{all_:.2f}", f"{all_ / one:.2f}", f"{each:.4f}")
    return table, {"one_s": one, "many_s": all_, "many": many, "times": all_ / one}
