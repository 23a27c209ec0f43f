"""Five atlases by registration, beside ours: Dice of the first twelve `val` heads with the same five templates.

    python benchmarks/peers/registration.py [--cases N] [--choose] [--kept DIR] [--json FILE]

Needs itk-elastix, which the project does not depend on: `pip install itk-elastix` into an environment of its own, or
`pip install --target DIR itk-elastix` and `PYTHONPATH=.:DIR`. Each template is registered to the scan with mutual
information (Mattes): affine from several heights, of which the one with the most mutual information goes on, then
B-spline (final grid 20 mm). Its labels come over by nearest neighbour and are fused by a majority vote, and by one
weighted with local similarity. Ours is `medlsam.load()` with the same templates; the paired difference is of the mean
Dice of a patient. Only structures that are complete in the scan count, as in `medlsam evaluate`.

Seconds are processor time of one thread, from the scan in memory to its label map. The settings were tried on the scans
of `--choose`, the last two cases of `pretrain` in place of `val`.

The registered atlases are kept in `.pool/peers` after each scan: a run that was stopped goes on, and a later run only
votes and makes ours again, without itk, in a minute or two. The first takes some ten minutes of one core. After a
change of the code (not of the settings) remove the folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import medlsam
from benchmarks.common import answer, command, options, progress
from benchmarks.peers.comparison import KEPT, OURS, Answers, Kept, Scored, Task, document, ours, score, tables
from benchmarks.peers.elastix import Registration, Settings, Warped, grey_levels, load_itk
from benchmarks.peers.fusion import local_weights, majority, vote
from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.volume import Image

#: Of the weighted vote: the reach of "local", mm, and the power of the difference.
REACH_MM, POWER = 10.0, 2.0
MAJORITY, WEIGHTED = "registration, majority", "registration, weighted"


def warp(task: Task, case: Case, settings: Settings, kept: Kept) -> tuple[list[Warped], float]:
    """The atlases in a scan's place, and the processor seconds that it took; read where they are kept.

    Raises:
        UsageError: itk-elastix is needed and not installed.
    """
    found = kept.read(case.name)
    if found is None:
        load_itk()  # seconds that are no scan's
        image = read_image(case.path)
        start = time.process_time()
        registration = Registration(image, settings)
        warped = [registration.warp(template) for template in task.templates]
        seconds = time.process_time() - start
        kept.write(
            case.name,
            labels=np.stack([own.labels for own in warped]),
            images=np.stack([own.image for own in warped]),
            seconds=seconds,
        )
        return warped, seconds
    pairs = zip(found["labels"], found["images"], strict=True)
    return [Warped(labels, image) for labels, image in pairs], float(found["seconds"])


def fuse(task: Task, settings: Settings, kept: Kept) -> dict[str, Answers]:
    """The answers of both votes.

    Args:
        task: scans and templates.
        settings: of the registrations.
        kept: where registered atlases are, and go.

    Raises:
        UsageError: itk-elastix is needed and not installed.
    """
    answers: dict[str, dict[str, Scored]] = {MAJORITY: {}, WEIGHTED: {}}
    for case in task.cases:
        warped, seconds = warp(task, case, settings, kept)
        image = read_image(case.path)
        reference = task.references.read(case.name, image)
        for way, own in answers.items():
            start = time.process_time()
            labels = vote_of(way, image, warped)
            took = seconds + time.process_time() - start
            own[case.name] = Scored(score(labels, reference, task.names), took)
        said = ", ".join(f"{np.mean(list(own[case.name].dice.values())):.3f}" for own in answers.values())
        progress(f"registration: {case.name}, {seconds:.0f} s, mean Dice {said}")
    return dict(answers)


def vote_of(way: str, image: Image, warped: Sequence[Warped]) -> NDArray[np.uint8]:
    """One way's answer in a scan, (Z, Y, X)."""
    labels = [own.labels for own in warped]
    if way == MAJORITY:
        return majority(labels)
    atlases = [grey_levels(own.image) for own in warped]
    spacing_zyx = image.grid.spacing_xyz[::-1]
    return vote(labels, local_weights(grey_levels(image.array), atlases, spacing_zyx, REACH_MM, POWER))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--cases", type=int, default=12, metavar="N", help="scans (%(default)s)")
    parser.add_argument("--choose", action="store_true", help="the scans that settings are chosen on")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help="kept answers (%(default)s)")
    arguments = parser.parse_args()
    task, settings = Task.read(arguments.ct, arguments.cases, arguments.choose), Settings()
    templates = [template.name for template in task.templates]
    kept = Kept(arguments.kept, "registration", {"settings": asdict(settings), "templates": templates})
    peers = fuse(task, settings, kept)
    model = medlsam.load(
        localizer=arguments.localizer, segmenter=arguments.segmenter, device=arguments.device
    )
    own, before = ours(model, task)
    ways = {OURS: own, **peers}
    begun = {OURS: f"{before:.0f} s", MAJORITY: "nothing", WEIGHTED: "nothing"}
    answer(
        tables(ways, begun, task.structures),
        {**document(ways, begun, model), **kept.settings, "votes": {"reach_mm": REACH_MM, "power": POWER}},
        arguments.json,
    )


if __name__ == "__main__":
    command(main)
