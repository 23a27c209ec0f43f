"""HCUCH's human in the loop on sarcomas: the decoder is trained again in cycles, as corrected lesions come in.

    python benchmarks/lesion/human_in_the_loop.py [--segmenter NAME|FILE] [--slices N] [--epochs N] [--json FILE]

Corrected masks come in three batches (`lesions/sts_001` to `003`, `004` to `006`, `007` and `008`). After each batch
`medlsam.finetune(cycle=True)` trains the original weights on all that there are; leave-one-patient-out chooses the
epochs, and the file is replaced where it is better on `sts_009` to `sts_014`. As HCUCH's test set in the paper, these
six decide between two cycles, so the last file's figure of them is a little too good. Printed are

- the paper's Table 4 for the file in use after each cycle, beside the paper's own figures: Dice of the test patients'
  2D components of at least 10 pixels with their true boxes; by patient in 3D; and the same of the six `deeplesion_*`,
  lesions of other kinds, which are never trained on and decide nothing;
- what each cycle gained on them, and by leave-one-patient-out: the Dice of each training patient before and after, by a
  decoder that was trained without it;
- what a person would have to correct: each new batch but the first, before it is trained on, by the original weights
  and by the file in use. Nothing of these scans has decided anything at that time.

At most 25 epochs, and 10 slices of a patient to train on; all slices are scored. About six minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from benchmarks.common import answer, command, options, progress
from benchmarks.lesion.lesion_cases import read_case
from medlsam.segment.finetune.components import components
from medlsam.segment.finetune.labelled import LabelledScan, find_labelled
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.run import finetune
from medlsam.segment.finetune.score import Scores, compare, score
from medlsam.segment.load import load_segmenter
from medlsam.volume.volume import LabelMap

BATCHES = (("sts_001", "sts_002", "sts_003"), ("sts_004", "sts_005", "sts_006"), ("sts_007", "sts_008"))
TEST = tuple(f"sts_{number:03d}" for number in range(9, 15))
#: HCUCH's Table 4: scans and components trained on, and the Dice of 5,248 components.
PAPER = (
    ("–", "0.84 ± 0.13, 0.88 (0.58 to 0.96)"),
    ("13, 4135", "0.88 ± 0.07, 0.90 (0.74 to 0.96)"),
    ("24, 4947", "0.88 ± 0.08, 0.89 (0.73 to 0.96)"),
    ("38, 7348", "0.88 ± 0.08, 0.90 (0.74 to 0.96)"),
)


def run(folder: Path, segmenter: str, training: FinetuneOptions) -> dict[str, Any]:
    """Run the cycles.

    Args:
        folder: ``lesions``.
        segmenter: the original weights.
        training: options of each cycle.

    Returns:
        JSON values: ``cycles`` has one dictionary for the original weights and each cycle.
    """
    test, others = read_labelled(folder, TEST), other_lesions(folder)
    progress("scoring the original weights")
    original = {"test": scored(segmenter, test), "other": scored(segmenter, others)}
    cycles = [row_of(0, [], original)]
    trained: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / f"{Path(segmenter).stem}-lesions.safetensors"
        for number, batch in enumerate(BATCHES, start=1):
            new = read_labelled(folder, batch)
            before_training = compared(
                scored(segmenter, new), scored(file if file.exists() else segmenter, new)
            )
            trained += batch
            progress(f"cycle {number}")
            with torch.inference_mode(mode=False):
                done = finetune(
                    folder,
                    file,
                    segmenter=segmenter,
                    cases=[*trained, *TEST],
                    held_out=TEST,
                    cycle=True,
                    options=training,
                    cache=Path(name) / "embeddings",
                    on_progress=progress,
                )
            used = file if file.exists() else segmenter
            now = {"test": scored(used, test), "other": scored(used, others)}
            row = row_of(number, read_labelled(folder, trained), now)
            row |= {
                "replaced": done.replaced,
                "epochs": done.selection.epochs,
                "new_batch": before_training,
                "left_out": done.record["left_out"],
                "against_original": {key: compared(original[key], now[key]) for key in now},
            }
            cycles.append(row)
    return {"segmenter": segmenter, "cycles": cycles}


def read_labelled(folder: Path, names: Sequence[str]) -> list[LabelledScan]:
    """Read some of the lesions as labelled scans."""
    return [case.read() for case in find_labelled([folder], list(names))]


def other_lesions(folder: Path) -> list[LabelledScan]:
    """Read ``deeplesion_*``: grey levels, taken for HU of an assumed window."""
    found = []
    for path in sorted(folder.glob("deeplesion_*")):
        case = read_case(path)
        labels = LabelMap(case.reference.astype(np.uint16), case.image.grid)
        found.append(LabelledScan(case.name, case.name, case.image, labels, {1: "lesion"}))
    return found


def scored(file: str | Path, scans: Sequence[LabelledScan]) -> Scores:
    """Score a segmenter's file with true slice boxes."""
    return score(load_segmenter(file), scans)


def compared(before: Scores, after: Scores) -> dict[str, Any]:
    """Compare two files by patient in 3D and by 2D component, with Wilcoxon's p."""
    return {
        "patients": compare(before.patients, after.patients).to_dict(),
        "components": compare(before.components, after.components).to_dict(),
    }


def figures(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation of the sample, median, 5th and 95th percentile, and n."""
    low, middle, high = np.percentile(values, (5, 50, 95))
    found = {"mean": np.mean(values), "std": np.std(values, ddof=1), "median": middle, "p5": low, "p95": high}
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": len(values)}


def row_of(cycle: int, trained: Sequence[LabelledScan], now: Mapping[str, Scores]) -> dict[str, Any]:
    """Describe the file in use: what it was trained on, and its figures on ``test`` and ``other`` lesions."""
    return {
        "cycle": cycle,
        "scans": len(trained),
        "components": sum(len(components(scan)) for scan in trained),
        **{f"{key}_components": figures(list(own.components.values())) for key, own in now.items()},
        **{f"{key}_patients": figures(list(own.patients.values())) for key, own in now.items()},
    }


def table_4(cycles: Sequence[Mapping[str, Any]]) -> Table:
    """Print the paper's Table 4, ours and theirs."""
    first = cycles[0]
    table = Table(title="file in use after each cycle, Dice: mean ± SD, median (5th to 95th percentile)")
    for head in (
        "cycle",
        "scans, components",
        f"2D components (n = {first['test_components']['n']})",
        f"patients, 3D (n = {first['test_patients']['n']})",
        f"other lesions, 3D (n = {first['other_patients']['n']})",
        "HCUCH: scans, components",
        "HCUCH: 2D components (n = 5248)",
    ):
        table.add_column(head)
    for row, paper in zip(cycles, PAPER, strict=True):
        parts = row["test_components"]
        table.add_row(
            f"{row['cycle']}{'' if row.get('replaced', True) else ' (not better)'}",
            f"{row['scans']}, {row['components']}" if row["scans"] else "–",
            f"{mean_std(parts)}, {parts['median']:.3f} ({parts['p5']:.2f} to {parts['p95']:.2f})",
            mean_std(row["test_patients"]),
            mean_std(row["other_patients"]),
            *paper,
        )
    return table


def gains(cycles: Sequence[Mapping[str, Any]]) -> Table:
    """Print what each cycle gained."""
    table = Table(title="Dice, original weights → in use; Wilcoxon's p (n)")
    for head in (
        "cycle",
        "epochs",
        "test, 2D components",
        "test, 3D",
        "other lesions, 3D",
        "left out in turn, 2D crops",
        "new batch before its training, 3D",
    ):
        table.add_column(head)
    for row in cycles[1:]:
        against = row["against_original"]
        table.add_row(
            str(row["cycle"]),
            str(row["epochs"]),
            gain(against["test"]["components"]),
            gain(against["test"]["patients"]),
            gain(against["other"]["patients"]),
            gain(row["left_out"]),
            "–" if row["cycle"] == 1 else gain(row["new_batch"]["patients"]),
        )
    return table


def gain(found: Mapping[str, Any]) -> str:
    """Write a comparison in a cell."""
    return (
        f"{mean_std(found['before'])} → {mean_std(found['after'])}; {found['wilcoxon_p']:.2g} ({found['n']})"
    )


def mean_std(row: Mapping[str, float]) -> str:
    """Write mean and standard deviation."""
    return f"{row['mean']:.3f} ± {row['std']:.3f}"


def arguments() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--epochs", type=int, default=25, help="at most (%(default)s)")
    parser.add_argument("--slices", type=int, default=10, help="of a patient, 0 for all (%(default)s)")
    return parser


def main() -> None:
    given = arguments().parse_args()
    found = run(
        given.ct / "lesions", given.segmenter, FinetuneOptions(epochs=given.epochs, slices=given.slices)
    )
    answer([table_4(found["cycles"]), gains(found["cycles"])], found, given.json)


if __name__ == "__main__":
    command(main)
