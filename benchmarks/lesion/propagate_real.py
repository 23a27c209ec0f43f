"""3D masks of 20 real lesions from one slice: Dice from a box, from RECIST diameters, and from a point.

    python benchmarks/lesion/propagate_real.py [--segmenter NAME|FILE] [--cases sts_00,deeplesion] [--policies]

Every lesion is marked on the slice with its largest reference mask: by the tight box, by the two diameters, by the long
one alone, by a point.
Beside our propagation stand a plain baseline (threshold and region growing in the box's columns), the same segmenter
with the true box in every slice (the ceiling: nobody has these boxes), and propagation without the side views (each
slice's box from its neighbour's mask alone). The constants were chosen on `sts_001` to `sts_007`. The other seven
sarcomas were unseen then; the six DeepLesion cases (grey levels, taken for HU of one assumed window) were not.

With `--policies` the table of the key slice alone: Dice of box scales 100 to 60 %, with and without a point in the
centre and points outside (3DLAND's Figure 4). With `--set view_weight=0.3,views=12` other constants of the
memory; `propagate_choose.py` tries them one by one. Two minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import CT, answer, command, progress
from benchmarks.lesion.lesion_cases import (
    LesionCase,
    box_prompt,
    dice,
    filled_in,
    point_prompt,
    read_cases,
    recist_prompt,
    region_growing,
    true_boxes,
)
from medlsam.errors import UsageError
from medlsam.geometry import Box
from medlsam.lesion.propagate.memory import MemoryOptions
from medlsam.lesion.propagate.prompt_policy import POLICIES, RECIST_POLICY, PromptPolicy, segment_key_slice
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import MemoryPropagator
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter

#: Dice by row and case.
Scores = dict[str, dict[str, float]]
#: The row that others are compared with.
OURS = "box, ours"
GROUPS = ("sarcoma, chosen on", "sarcoma", "deeplesion")
#: What the segmenter is told of the sides of boxes, mm.
ERRORS = (0.0, 1.0, 2.0, 4.0)
#: Standard deviation of the sides of a box that a hurried person draws, mm.
HAND_MM = 2.0


def volumes(case: LesionCase, segmenter: Segmenter, options: MemoryOptions) -> dict[str, tuple[float, float]]:
    """3D Dice and seconds of every way."""
    ours, alone = (
        MemoryPropagator(segmenter, options=options),
        MemoryPropagator(segmenter, options=replace(options, views=0)),
    )
    marks = {"box": box_prompt(case), "RECIST": recist_prompt(case), "point": point_prompt(case)}
    marks["long diameter alone"] = replace(marks["RECIST"], short=None)
    ways: dict[str, Callable[[], Any]] = {
        f"{name}, ours": lambda mark=mark: filled_in(ours.propagate(case.image, mark)[1], case)  # type: ignore[misc]
        for name, mark in marks.items()
    }
    ways["box, without side views"] = lambda: filled_in(alone.propagate(case.image, marks["box"])[1], case)
    ways["box, region growing"] = lambda: region_growing(case)
    ways["true box in every slice"] = lambda: true_boxes(case, segmenter)
    found = {}
    for name, way in ways.items():
        start = time.perf_counter()
        mask = way()
        found[name] = dice(mask, case.reference), time.perf_counter() - start
    return found


def key_slices(case: LesionCase, segmenter: Segmenter) -> dict[str, float]:
    """2D Dice of every policy on the key slice, from the box; and from the diameters with and without their ellipse."""
    box, diameters = box_prompt(case), recist_prompt(case)
    asked = [(policy.name, box, policy) for policy in POLICIES]
    asked += [(f"100 %, error {error:g} mm", box, PromptPolicy(error_mm=error)) for error in ERRORS]
    drawn = _by_hand(case, box)
    asked += [
        (f"box {HAND_MM:g} mm off, error {error:g} mm", drawn, PromptPolicy(error_mm=error))
        for error in ERRORS
    ]
    for ellipse in (False, True):
        for error in ERRORS:
            name = f"RECIST, error {error:g} mm" + (", ellipse" if ellipse else "")
            asked.append((name, diameters, replace(RECIST_POLICY, error_mm=error, ellipse=ellipse)))
    reference = case.reference[case.key]
    return {
        name: dice(segment_key_slice(segmenter, case.image, mark, policy)[1] >= 0.5, reference)
        for name, mark, policy in asked
    }


def _by_hand(case: LesionCase, prompt: LesionPrompt) -> LesionPrompt:
    """Move each side of a box by chance, the same way at every call."""
    assert prompt.box is not None, "a prompt of kind box"
    moved = prompt.box.faces
    moved[:4] += np.random.default_rng(len(case.name) + case.key).normal(0, HAND_MM, 4)
    return replace(prompt, box=Box.from_faces(moved))


def table(scores: Scores, cases: list[LesionCase], title: str) -> Table:
    """Mean, standard deviation and n of each group; and how much better ours is, with the standard error of that."""
    made = Table(title=title, box=SIMPLE_HEAD)
    made.add_column("")
    for group in GROUPS:
        made.add_column(f"{group} (n = {sum(case.group == group for case in cases)})", justify="right")
    told = [case.name for case in cases if case.group != GROUPS[0]]
    made.add_column(f"reported on (n = {len(told)})", justify="right")
    compared = OURS in scores and len(told) > 1
    if compared:
        made.add_column(f"'{OURS}' minus this (± standard error)", justify="right")
    for name, own in scores.items():
        cells = []
        for group in (*GROUPS, ""):
            values = [
                own[case.name]
                for case in cases
                if case.group == group or (not group and case.group != GROUPS[0])
            ]
            cells.append(f"{np.mean(values):.3f} ±{np.std(values):.3f}" if values else "–")
        if compared:
            more = [scores[OURS][case] - own[case] for case in told]
            cells.append(f"{np.mean(more):+.3f} ±{np.std(more, ddof=1) / len(more) ** 0.5:.3f}")
        made.add_row(name, *cells)
    return made


def by_case(scores: Scores, cases: list[LesionCase]) -> Table:
    """Every case."""
    made = Table(title="3D Dice by lesion", box=SIMPLE_HEAD)
    made.add_column("lesion")
    for name in scores:
        made.add_column(name, justify="right")
    for case in cases:
        made.add_row(case.name, *(f"{own[case.name]:.3f}" for own in scores.values()))
    return made


def changed(text: str | None) -> MemoryOptions:
    """Constants of the memory with those of ``name=value,...`` changed."""
    options = MemoryOptions()
    known = {item.name: type(getattr(options, item.name)) for item in fields(MemoryOptions)}
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        if name not in known:
            raise UsageError(f"{name}: no constant of the memory; there are {', '.join(known)}")
        given = value == "True" if known[name] is bool else known[name](value)
        options = replace(options, **{name: given})
    return options


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cases", metavar="A,B", help="only lesions whose names begin so")
    parser.add_argument("--policies", action="store_true", help="the key slice's policies")
    parser.add_argument(
        "--set", dest="constants", metavar="NAME=VALUE,...", help="other constants of the memory"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    options, segmenter = changed(arguments.constants), load_segmenter(arguments.segmenter, arguments.device)
    scores: Scores = defaultdict(dict)
    seconds: Scores = defaultdict(dict)
    cases = []
    for case in read_cases(arguments.ct / "lesions", arguments.cases):
        progress(case.name)
        cases.append(case)
        if arguments.policies:
            for name, score in key_slices(case, segmenter).items():
                scores[name][case.name] = score
            continue
        for name, (score, took) in volumes(case, segmenter, options).items():
            scores[name][case.name], seconds[name][case.name] = score, took
    what = "Dice of the key slice, by policy" if arguments.policies else "3D Dice"
    tables = [table(scores, cases, f"{what}: mean ±standard deviation; {segmenter.spec.name}")]
    if not arguments.policies:
        tables.append(by_case(scores, cases))
    document = {"segmenter": segmenter.signature, "dice": dict(scores), "seconds": dict(seconds)}
    answer(tables, document, arguments.json)


if __name__ == "__main__":
    command(main)
