"""Choose the constants of lesion propagation: 3D Dice on `sts_001` to `sts_007` with one constant changed at a time.

    python benchmarks/lesion/propagate_choose.py [--segmenter NAME|FILE] [--only view_weight,likeness]

The other real lesions are those that `propagate_real.py` reports on; they are not read here. Each lesion is marked by
the tight box on the slice with its largest reference mask, and by its two diameters. Beside the mean and the standard
deviation stands the mean difference from the constants as they are, with the standard error of that difference: less
than two of these is no difference on seven lesions. About two minutes of one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import CT, answer, command, progress
from benchmarks.lesion.lesion_cases import CHOOSE, box_prompt, dice, filled_in, read_cases, recist_prompt
from benchmarks.lesion.propagate_real import changed
from medlsam.lesion.propagate.memory import MemoryOptions
from medlsam.lesion.propagate.prompt_policy import RECIST_POLICY
from medlsam.lesion.propagate.run import MemoryPropagator
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter

#: What is tried in place of the constant as it is.
TRIED: dict[str, tuple[float, ...]] = {
    "views": (0, 4, 12),
    "view_weight": (0.2, 0.3, 0.5, 0.6),
    "likeness": (0.0, 0.2, 0.4, 0.5),
    "view_error_mm": (3, 10),
    "rounds": (2, 4),
    "error_mm": (1, 4),
    "past": (1, 3),
    "mask_prompt": (True,),
}
NOW = "as it is"
#: Of the key slice: diameters whose ellipse is no mask prompt.
NO_ELLIPSE = "ellipse=False"


def variations(only: str | None = None) -> dict[str, MemoryOptions]:
    """Name to constants: as they are, and with one changed; ``only`` names those to change."""
    wanted = only.split(",") if only else [*TRIED]
    texts = [f"{name}={value}" for name in wanted for value in TRIED.get(name, ())]
    return {NOW: MemoryOptions()} | {text: changed(text) for text in texts}


def propagators(segmenter: Segmenter, only: str | None = None) -> dict[str, MemoryPropagator]:
    """Name to what is tried: see ``variations``, and diameters without their ellipse."""
    made = {name: MemoryPropagator(segmenter, options=own) for name, own in variations(only).items()}
    if only is None or "ellipse" in only.split(","):
        made[NO_ELLIPSE] = MemoryPropagator(segmenter, replace(RECIST_POLICY, ellipse=False))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(TRIED)}, ellipse")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.segmenter, arguments.device)
    tried = propagators(segmenter, arguments.only)
    scores: dict[str, dict[str, list[float]]] = {name: {"box": [], "RECIST": []} for name in tried}
    for case in read_cases(arguments.ct / "lesions", ",".join(CHOOSE)):
        progress(case.name)
        marks = {"box": box_prompt(case), "RECIST": recist_prompt(case)}
        for name, propagator in tried.items():
            for kind, mark in marks.items():
                found = filled_in(propagator.propagate(case.image, mark)[1], case)
                scores[name][kind].append(dice(found, case.reference))
    document = {"segmenter": segmenter.signature, "cases": list(CHOOSE), "dice": scores}
    answer([_table(scores, segmenter.spec.name)], document, arguments.json)


def _table(scores: dict[str, dict[str, list[float]]], segmenter: str) -> Table:
    n = len(scores[NOW]["box"])
    table = Table(title=f"3D Dice of {n} lesions, one constant changed; {segmenter}", box=SIMPLE_HEAD)
    for head in ("", "box", "difference", "RECIST", "difference"):
        table.add_column(head, justify="right" if head else "left")
    for name, kinds in scores.items():
        cells = []
        for kind, values in kinds.items():
            moved = np.subtract(values, scores[NOW][kind])
            error = moved.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
            cells += [f"{np.mean(values):.3f} ±{np.std(values):.3f}", f"{moved.mean():+.3f} ±{error:.3f}"]
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    command(main)
