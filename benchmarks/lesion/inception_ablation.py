"""The ablation of InceptionUNet (MSWAL's Table 3, variants I to V) on phantom lesions, over seeds.

    python benchmarks/lesion/inception_ablation.py --folder .ablation [--seeds 3] [--steps 800] [--json FILE]

Twelve phantoms to train on, eight others to score (4 x 4 x 5 mm, liver and kidneys, ten lesions each of three kinds).
Each variant is trained from each seed with the same patches, which are not augmented, and a small network; then DSC by
class and region F1 at IoU 0.5, both pooled over the eight phantoms, and their means over the classes. Printed are the
mean and standard deviation over the seeds, beside the paper's, and the paired difference of each variant to V (same
seed). Every run is a line of ``FOLDER/runs.jsonl`` as it ends, so a killed benchmark goes on; ``--report`` only prints
what is there. A run takes about a minute of one core.

The rate of 0.01 is that of two with which V has the lower training loss on a seed that is not reported:
``--first-seed 1000 --seeds 1 --variants V --rate 0.01``, and 0.003.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options, progress, spread
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.lesion.inception.config import VARIANTS, InceptionConfig
from medlsam.lesion.inception.data import LesionDataModule
from medlsam.lesion.inception.network import parameter_count
from medlsam.lesion.inception.segment import load_network, segment_scan
from medlsam.lesion.inception.train import InceptionTraining
from medlsam.measure.detection import detection_score, pool
from medlsam.phantoms.lesions import lesion_phantom
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import LabelMap

KINDS = ("liver_cyst", "liver_tumor", "kidney_tumor")
TRAINED, SCORED = range(12), range(100, 108)
WIDTHS, BLOCKS, PATCH, BATCH = (8, 16, 24), (1, 1, 1), (16, 32, 32), 2
#: DSC and F1 of the paper, percent.
PAPER = {
    "I": (49.02, 38.39),
    "II": (49.46, 38.78),
    "III": (49.83, 39.23),
    "IV": (50.02, 39.42),
    "V": (50.09, 39.56),
}


def write_dataset(folder: Path) -> None:
    """Draw the phantoms that are not there yet, as an nnU-Net dataset (``imagesTs`` and ``labelsTs`` score)."""
    labels = {"background": 0} | {kind: number for number, kind in enumerate(KINDS, start=1)}
    for seeds, part in ((TRAINED, "Tr"), (SCORED, "Ts")):
        for seed in seeds:
            image = folder / f"images{part}" / f"p{seed}_0000.nii.gz"
            target = folder / f"labels{part}" / f"p{seed}.nii.gz"
            if target.is_file():
                continue
            made = lesion_phantom(
                seed, 10, kinds=KINDS, spacing_xyz=(4, 4, 5), region=(280, 440), fov_mm=320, table=False
            )
            table = np.zeros(256, np.uint8)
            for lesion in made.lesions:
                table[lesion.id] = labels[lesion.kind]
            write_volume(made.image, image)
            write_volume(LabelMap(table[made.lesion_labels.array], made.lesion_labels.grid), target)
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": labels,
            "numTraining": len(TRAINED),
            "file_ending": ".nii.gz",
        },
    )


def one_run(folder: Path, variant: str, seed: int, steps: int, rate: float) -> dict[str, Any]:
    """Train a variant and score it; ``train_loss`` is the mean over the last hundred steps."""
    lightning.seed_everything(seed, verbose=False)
    began = time.process_time()
    data = LesionDataModule(
        str(folder / "dataset"), str(folder / "prepared"), fold=None, patch=PATCH, batch_size=BATCH, batches=steps,
        foreground=0.67, augmented=False, workers=0, seed=seed,
    )  # fmt: skip
    net = InceptionConfig(widths=WIDTHS, blocks=BLOCKS, variant=variant)
    module = InceptionTraining(data.class_names, net, learning_rate=rate, optimizer="adamw")
    losses = Losses()
    trainer = lightning.Trainer(
        max_epochs=1, limit_val_batches=0, accelerator="cpu", logger=False, precision="32-true",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[losses],
    )  # fmt: skip
    trainer.fit(module, data)
    file = folder / f"{variant}_{seed}.safetensors"
    module.export(file)
    network = load_network(file, "cpu")
    scores: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for seed_of in SCORED:
        image = read_image(folder / "dataset" / "imagesTs" / f"p{seed_of}_0000.nii.gz")
        truth = read_label_map(folder / "dataset" / "labelsTs" / f"p{seed_of}.nii.gz").array
        found = segment_scan(image, [network]).array
        for number, kind in enumerate(KINDS, start=1):
            scores[kind].append(detection_score(found == number, truth == number))
    pooled = {kind: pool(own) for kind, own in scores.items()}
    return {
        "variant": variant,
        "seed": seed,
        "steps": steps,
        "rate": rate,
        "train_loss": round(float(np.mean(losses.seen[-100:])), 4),
        "parameters": parameter_count(module.net),
        "dsc": {kind: _percent(score.voxels.dice) for kind, score in pooled.items()},
        "f1": {kind: _percent(score.regions.f1) for kind, score in pooled.items()},
        "cpu_seconds": round(time.process_time() - began, 1),
    }


class Losses(lightning.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
        """Note it."""
        self.seen.append(float(outputs["loss"]))


def _percent(value: float) -> float:
    return 0.0 if math.isnan(value) else round(100 * value, 2)


def read_runs(folder: Path, steps: int, rate: float) -> dict[tuple[str, int], dict[str, Any]]:
    """The runs that have ended, by variant and seed."""
    file = folder / "runs.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    runs = [json.loads(line) for line in lines if line.endswith("}")]
    return {
        (run["variant"], run["seed"]): run for run in runs if (run["steps"], run["rate"]) == (steps, rate)
    }


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--folder", type=Path, required=True, help="phantoms, weights and runs.jsonl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="others to choose steps and rate on")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rate", type=float, default=1e-2, help="learning rate at the beginning")
    parser.add_argument("--report", action="store_true", help="print what is there")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if not arguments.report:
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            write_dataset(folder / "dataset")
            for seed in seeds:
                for variant in arguments.variants:
                    if (variant, seed) in read_runs(folder, arguments.steps, arguments.rate):
                        continue
                    run = one_run(folder, variant, seed, arguments.steps, arguments.rate)
                    with (folder / "runs.jsonl").open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(run) + "\n")
                    progress(json.dumps(run))
    runs = read_runs(folder, arguments.steps, arguments.rate)
    runs = {key: run for key, run in runs.items() if key[1] in seeds}
    answer([_table(runs)], {"runs": list(runs.values())}, arguments.json)


def _table(runs: dict[tuple[str, int], dict[str, Any]]) -> Table:
    means = {
        key: {measure: float(np.mean(list(run[measure].values()))) for measure in ("dsc", "f1")}
        for key, run in runs.items()
    }
    table = Table(title="InceptionUNet on phantom lesions: mean ± std over seeds, percent")
    for head in ("variant", "runs", "parameters", "DSC", "to V", "F1", "to V", "paper DSC", "paper F1"):
        table.add_column(head, justify="right")
    for variant in VARIANTS:
        seeds = sorted(seed for name, seed in runs if name == variant)
        if not seeds:
            continue
        cells = [variant, str(len(seeds)), str(runs[variant, seeds[0]]["parameters"])]
        for measure in ("dsc", "f1"):
            both = [seed for seed in seeds if ("V", seed) in means]
            cells.append(spread([means[variant, seed][measure] for seed in seeds]))
            cells.append(spread([means[variant, s][measure] - means["V", s][measure] for s in both]))
        table.add_row(*cells, *(f"{value:.2f}" for value in PAPER[variant]))
    return table


if __name__ == "__main__":
    command(main)
