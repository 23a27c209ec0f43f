"""Fine-tuning on 8 sarcomas, judged on 6 others: Dice with true slice boxes before and after.

    python benchmarks/segment/finetune_sarcoma.py [--segmenter NAME|FILE] [--epochs N] [--output FILE] [--json FILE]

The decoder is trained on `lesions/sts_001` to `sts_008` (leave-one-patient-out chooses the number of epochs) and judged
on `sts_009` to `sts_014`, which nothing of it saw; no weights that ship were trained on any of them. Printed are the
3D Dice of the patients and the Dice of their 2D components with n and Wilcoxon's p, then both by patient. With
`--output` the fine-tuned file and its history stay; `--cache` keeps the embeddings for another run. By default 10
slices of a patient and at most 25 epochs: three minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import CT, answer, command, progress
from medlsam.cli.finetune.table import to_table
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.run import finetune

TRAIN = tuple(f"sts_{number:03d}" for number in range(1, 9))
JUDGE = tuple(f"sts_{number:03d}" for number in range(9, 15))
#: Less than the paper's 50 epochs over all slices: the best number of epochs was a small one.
TRAINING = FinetuneOptions(epochs=25, slices=10)


def by_patient(record: dict[str, Any]) -> Table:
    """The held-out patients one by one."""
    table = Table(title="held-out patients, 3D Dice", box=SIMPLE_HEAD)
    table.add_column("patient")
    for head in ("before", "after", "difference"):
        table.add_column(head, justify="right")
    for name, (before, after) in record["held_out"]["by_patient"].items():
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    return table


def options() -> argparse.ArgumentParser:
    """The options of this script; those of the training are the fields of ``FinetuneOptions``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep the fine-tuned segmenter")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the embeddings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    for item in fields(FinetuneOptions):
        flag = f"--{item.name.replace('_', '-')}"
        usual = getattr(TRAINING, item.name)
        parser.add_argument(
            flag, type=type(usual), default=usual, help=f"{item.metadata['help']} (%(default)s)"
        )
    return parser


def main() -> None:
    arguments = options().parse_args()
    training = FinetuneOptions(
        **{item.name: getattr(arguments, item.name) for item in fields(FinetuneOptions)}
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(mode=False):
        done = finetune(
            arguments.ct / "lesions",
            arguments.output or Path(folder) / f"{Path(arguments.segmenter).stem}-sarcoma.safetensors",
            segmenter=arguments.segmenter,
            cases=[*TRAIN, *JUDGE],
            held_out=JUDGE,
            overwrite=True,
            options=training,
            device=arguments.device,
            cache=arguments.cache,
            on_progress=progress,
        )
    record = dict(done.record)
    answer([to_table(record), by_patient(record)], record, arguments.json)


if __name__ == "__main__":
    command(main)
