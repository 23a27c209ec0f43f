"""Seconds of one edit in a session: 512 x 512 x 200 voxels of 0.8 x 0.8 x 2 mm, one core.

    python benchmarks/session/edit_time.py [--segmenter NAME|FILE] [--threads 1] [--edits 50]

A phantom's kidney and liver, from their true boxes. A simulated user clicks in the middle of the largest region that is
wrong, and drags a face by 2 to 15 mm; each edit is made, answered, and its mask fetched. Printed are the median and the
worst of the seconds, and of the processor's seconds (on a machine that others use, wall time says more about them than
about this), and what encoding the slices of a box costs beside decoding them. A minute or two, most of it drawing the
phantom.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command, progress
from benchmarks.session.simulated_users import next_click, whole_mask
from medlsam.geometry import Box, mask_box
from medlsam.phantoms import phantom
from medlsam.pipeline.session import Session
from medlsam.results import Localization, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.load import load_segmenter
from medlsam.segment.prompts import wpl
from medlsam.volume import LabelMap, to_canonical

STRUCTURES = ("kidney_left", "liver")
SPACING, REGION, FOV_MM = (0.8, 0.8, 2.0), (150.0, 550.0), 409.6


def timed(edit: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor's seconds."""
    start, busy = time.perf_counter(), time.process_time()
    edit()
    return time.perf_counter() - start, time.process_time() - busy


def drag(box: Box, random: np.random.Generator) -> Box:
    """The box (LPS mm) with one of its six faces moved by 2 to 15 mm, in or out."""
    faces = box.faces.copy()
    faces[random.integers(6)] += random.choice([-1, 1]) * random.uniform(2, 15)
    return Box.from_faces(faces)


def figures(seconds: Sequence[tuple[float, float]]) -> list[str]:
    """Median and worst of wall seconds, then of processor's seconds, as printed."""
    return [f"{pick(own):.2f}" for own in zip(*seconds, strict=True) for pick in (np.median, np.max)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--edits", type=int, default=50, help="of each kind and structure (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    made = phantom(3, SPACING, REGION, FOV_MM)
    values = {name: value for value, name in made.names.items()}
    truth = to_canonical(made.labels)
    segmenter = load_segmenter(arguments.segmenter, arguments.device)
    nothing = LabelMap(np.zeros(made.image.array.shape, np.uint8), made.image.grid)
    start = Segmentation("phantom", nothing, {}, Localization("phantom", {}), image=made.image)
    session, random = Session(start, segmenter), np.random.default_rng(0)
    z, y, x = made.image.array.shape
    table = Table(title=f"one edit in {x} x {y} x {z}, {arguments.threads} thread", box=SIMPLE_HEAD)
    for head in ("structure", "edit", "n", "seconds, median", "worst", "processor, median", "worst"):
        table.add_column(head, justify="left" if head in ("structure", "edit") else "right")
    document: dict[str, object] = {}

    def report(name: str, kind: str, seconds: list[tuple[float, float]]) -> None:
        wall, work = zip(*seconds, strict=True)
        table.add_row(name, kind, str(len(seconds)), *figures(seconds))
        document[f"{name}, {kind}"] = {"seconds": wall, "processor_seconds": work}

    for name in STRUCTURES:
        mask = truth.array == values[name]
        true = mask_box(mask, session.grid)
        prompts = wpl(true, session.grid)
        stopwatch = Stopwatch()
        segmenter.segment(session.canonical, {name: prompts}, stopwatch)
        took = ", ".join(
            f"{stage} {1000 * own / len(prompts):.1f} ms" for stage, own in stopwatch.seconds.items()
        )
        progress(f"{name}: {len(prompts)} slices; a slice of its box takes: {took}")
        report(name, "first box", [timed(partial(session.move_box, name, true))])
        boxes, clicks = [], []
        for _ in range(arguments.edits):
            boxes.append(timed(partial(session.move_box, name, drag(true, random))))
        session.move_box(name, true.expand(-6))
        for _ in range(arguments.edits):
            point, inside = next_click(whole_mask(session, name), mask, session.grid)
            clicks.append(timed(partial(session.click, name, point, inside)))
        report(name, "face dragged", boxes)
        report(name, "click", clicks)
    report("both", "labels()", [timed(session.labels) for _ in range(3)])
    answer([table], document, arguments.json)


if __name__ == "__main__":
    command(main)
