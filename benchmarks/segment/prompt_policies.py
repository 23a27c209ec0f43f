"""What every prompt policy is worth on the same located boxes: the table that the defaults are chosen on.

    python benchmarks/segment/prompt_policies.py [--segmenter sam-tiny] [--policies wpl,profile,...] [--limit 12]

Every case is embedded and located once; then each policy segments the located structures. Printed are the Dice by
structure (a missed structure counts 0), the mean over structures, how that differs from the first policy's (mean and
standard error over the cases), and the segmenter's seconds per case (what two policies ask alike is asked once; its
seconds count for both). The default cases are of the `pretrain` split, where choices are made; sam-tiny learned from
the labels of all but the last 16 of that split, so the held-out ones among the cases come first and are printed apart.
`--cases SPLITS.json:val` is for results. `--json` is written anew after every case.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, evenly, listed_cases, options, progress, spread
from medlsam.evaluation.oracles import score_map
from medlsam.evaluation.references import CaseReference, find_references
from medlsam.io.read import read_image
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization
from medlsam.runtime.atomic_files import write_json
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image


def _single(**changes: Any) -> InferenceOptions:
    """Options with which each slice speaks for itself."""
    return InferenceOptions.of(propagate=False, **changes)


#: Name to row; the first of those chosen is what the others are compared with.
WAYS: dict[str, InferenceOptions] = {
    "profile": _single(),
    "wpl": _single(prompts="wpl"),
    "spl": _single(prompts="spl"),
    "margin 0": _single(margin_mm=0),
    "margin 2": _single(margin_mm=2),
    "margin 4": _single(margin_mm=4),
    "shrink 0.9": _single(shrink=0.9),
    "shrink 0.7": _single(shrink=0.7),
    "center point": _single(center_point=True),
    "shrink 0.7 + point": _single(shrink=0.7, center_point=True),
    "shape prompt": _single(shape_prompt=True),
    "zoom 2": _single(zoom=2),
    "zoom 4": _single(zoom=4),
    "model's window": _single(window="model"),
    "three axes": _single(axes="three"),
    "propagate": InferenceOptions(),
    "propagate + three axes": InferenceOptions.of(axes="three"),
    "all components": _single(components="all"),
    "overlaps by order": _single(overlaps="order"),
}
#: Rows that a model of the crop kind cannot tell from another: it zooms by itself, and has windows of its own.
WHOLE_SLICES_ONLY = ("zoom 2", "zoom 4", "model's window")
#: Dice of structure and case, by policy.
Scores = dict[str, dict[str, dict[str, float]]]


class AskedOnce:
    """A segmenter that answers the same question from memory; one for each scan, since questions do not name it.

    Attributes:
        inner: who is asked.
        spec: its registry entry.
        signature: sha256 of its weights file.
    """

    def __init__(self, inner: Segmenter) -> None:
        self.inner = inner
        self.spec, self.signature = inner.spec, inner.signature
        self._known: dict[str, tuple[dict[str, MaskBlock], dict[str, float]]] = {}

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """As ``Segmenter.segment``; the seconds are those of the first time."""
        key = hashlib.sha256(repr((volume.grid, sorted(prompts.items()))).encode())
        for name, rough in sorted((mask_prompts or {}).items()):
            key.update(f"{name} {rough.origin_zyx}".encode() + rough.probability.tobytes())
        if key.hexdigest() not in self._known:
            watch = Stopwatch()
            blocks = self.inner.segment(volume, prompts, stopwatch=watch, mask_prompts=mask_prompts)
            self._known[key.hexdigest()] = blocks, watch.seconds
        blocks, seconds = self._known[key.hexdigest()]
        if stopwatch is not None:
            for stage, own in seconds.items():
                stopwatch.seconds[stage] = stopwatch.seconds.get(stage, 0.0) + own
        return dict(blocks)


def score_case(
    model: MedLSAM,
    scan: Image,
    located: Localization,
    reference: CaseReference,
    ways: dict[str, InferenceOptions],
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Dice of every structure that can be scored, and the segmenter's seconds, by policy.

    Args:
        model: its segmenter is asked.
        scan: HU.
        located: where its structures are, slabs included.
        reference: the truth, opened after that.
        ways: the policies.
    """
    asked = AskedOnce(model.segmenter)
    names = [name for name in reference.values if name in located.structures]
    values = {name: value for value, name in enumerate(located.structures, start=1)}
    figures, seconds = {}, {}
    for name, way in ways.items():
        stopwatch = Stopwatch()
        found = segment_located(lambda: asked, scan, located, values, way, stopwatch)
        scores = score_map(found.labels.array, values, reference, names)
        figures[name] = {structure: score.dice for structure, score in scores.items()}
        seconds[name] = stopwatch.seconds.get("encode", 0.0) + stopwatch.seconds.get("decode", 0.0)
    return figures, seconds


def gain(scores: Scores, way: str, first: str) -> tuple[float, float]:
    """By how much a policy's mean over a case's structures exceeds the first's: mean, and its standard error."""
    gains = [
        np.mean(list(own[way].values())) - np.mean(list(own[first].values()))
        for own in scores.values()
        if own[way]
    ]
    error = float(np.std(gains, ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
    return float(np.mean(gains)), error


def by_structure(scores: Scores, way: str) -> dict[str, list[float]]:
    """Structure to its Dice in every case."""
    values: dict[str, list[float]] = defaultdict(list)
    for own in scores.values():
        for structure, dice in own[way].items():
            values[structure].append(dice)
    return values


def table(title: str, scores: Scores, seconds: dict[str, dict[str, float]], organs: list[str]) -> Table:
    """One line per policy."""
    ways = list(next(iter(scores.values())))
    found = Table(title=title)
    for head in ("policy", *organs, "mean", f"against {ways[0]}", "s a case"):
        found.add_column(head, justify="left" if head == "policy" else "right")
    for way in ways:
        rows = by_structure(scores, way)
        means = [float(np.mean(values)) for values in rows.values()]
        more, error = gain(scores, way, ways[0])
        found.add_row(
            way,
            *[f"{np.mean(rows[structure]):.3f}" if structure in rows else "–" for structure in organs],
            spread(means, 3),
            f"{more:+.3f} ±{error:.3f}" if way != ways[0] else "",
            f"{np.mean([own[way] for own in seconds.values()]):.1f}",
        )
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--data", default="openkbp", help="folder of --ct: templates/, imagesTr/, labelsTr/")
    parser.add_argument("--support", type=Path, help="a templates file or folder; default: that of --data")
    parser.add_argument("--cases", default="configs/trials/cases.json:choose", metavar="FILE:KEY")
    parser.add_argument("--limit", type=int, default=0, help="so many of the cases, evenly spaced; 0 for all")
    parser.add_argument("--policies", help="comma-separated, the first is compared with; default: all")
    parser.add_argument(
        "--held-out",
        type=int,
        default=16,
        help="of the pretrain split the last so many cases come first, and are printed apart (%(default)s)",
    )
    arguments = parser.parse_args()
    root = arguments.ct / arguments.data
    model = medlsam.load(
        localizer=arguments.localizer, segmenter=arguments.segmenter, device=arguments.device
    )
    crop = model.segmenter.spec.kind == "crop"
    chosen = arguments.policies.split(",") if arguments.policies else list(WAYS)
    if unknown := [name for name in chosen if name not in WAYS]:
        parser.error(f"unknown policy {unknown[0]!r}; there are: {', '.join(WAYS)}")
    ways = {name: WAYS[name] for name in chosen if not (crop and name in WHOLE_SLICES_ONLY)}
    templates = model.templates(arguments.support or root / "templates")
    references = find_references(root / "labelsTr")
    scores: Scores = {}
    seconds: dict[str, dict[str, float]] = {}
    splits = json.loads((root / "splits.json").read_text()) if (root / "splits.json").is_file() else {}
    held = set(splits.get("pretrain", [])[-arguments.held_out :]) if arguments.held_out else set()
    cases = listed_cases(root / "imagesTr", arguments.cases, 0)
    first = [case for case in cases if case.name in held]
    rest = [case for case in cases if case.name not in held]
    if 0 < arguments.limit < len(cases):
        first = first[: arguments.limit]
        rest = evenly(rest, arguments.limit - len(first)) if arguments.limit > len(first) else []
    document: dict[str, Any] = {"cases": arguments.cases, "dice": scores, "seconds": seconds}
    for case in (*first, *rest):
        scan = read_image(case.path)
        located = model.localize(scan, templates, slabs=True, case=case.name)
        reference = references.read(case.name, scan)
        scores[case.name], seconds[case.name] = score_case(model, scan, located, reference, ways)
        progress(f"{case.name}: {np.mean(list(scores[case.name][chosen[0]].values())):.3f} with {chosen[0]}")
        if arguments.json is not None:
            write_json(arguments.json, document)
    structures = [
        name for name in templates.structures if any(name in own[chosen[0]] for own in scores.values())
    ]
    tables = [table(f"{arguments.segmenter}: Dice in {len(scores)} cases", scores, seconds, structures)]
    unseen = {name: own for name, own in scores.items() if name in held}
    if unseen and len(unseen) < len(scores):
        title = f"{len(unseen)} of them held out from the training of sam-tiny"
        tables.append(table(title, unseen, {name: seconds[name] for name in unseen}, structures))
    answer(tables, document, arguments.json)


if __name__ == "__main__":
    command(main)
