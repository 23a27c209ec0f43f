"""A 3D U-Net trained on the five templates alone, beside ours: Dice of the first twelve `val` heads.

    python benchmarks/peers/unet.py [--minutes M] [--cases N] [--choose] [--kept DIR] [--json FILE]

A residual 3D U-Net sees patches of the templates that are turned, scaled, bent, in other grey levels and with noise
(never mirrored: left and right are different structures), for 20 minutes of one core's processor time: Dice and
cross-entropy, AdamW, learning rate falling with the time. It labels a scan with overlapping windows; of each structure
the largest connected part stays. A structure that a template does not label is no background there: its probability
is added to the background's in that template (all five label all seven, so here that never happens). Ours is
`medlsam.load()` with the same templates; the paired difference is of the mean Dice of a patient. Only structures that
are complete in the scan count, as in `medlsam evaluate`.

Twenty minutes are a start for such a network, so its figures are a lower bound; `--minutes` says otherwise. Nothing
was chosen on `val`; `--choose` takes the last two cases of `pretrain` in its place.

The training is kept in `.pool/peers` every minute and its answers after each scan: a run that was stopped goes on, and
a later run only makes ours again. After a change of the code (not of the settings) remove the folder.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import medlsam
from benchmarks.common import answer, command, options, progress
from benchmarks.peers.comparison import KEPT, OURS, Answers, Kept, Scored, Task, document, ours, score, tables
from benchmarks.peers.patches import AIR, draw_patch, on_working_grid, read_scan
from benchmarks.peers.unet_network import UNet, dice_and_cross_entropy, slide
from medlsam.io.read import read_image
from medlsam.runtime.atomic_files import atomic_path
from medlsam.runtime.device import autocast
from medlsam.volume import Image, resample
from medlsam.volume.components import largest_components

UNET = "3D U-Net"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Settings:
    """How the U-Net is built and trained.

    Attributes:
        minutes: of processor time.
        patch: (Z, Y, X) voxels of 3 x 4 x 4 mm.
        batch: patches a step.
        precision: of the passes: ``auto`` is bfloat16 where the processor has it.
        widths: channels at strides 1, 2, 4, ...
        learning_rate: the first; it falls to 0 like a cosine over the minutes.
        warm_up: share of the minutes in which it rises.
        weight_decay: of AdamW.
        seed: of weights and patches.
    """

    minutes: float = 20.0
    patch: tuple[int, int, int] = (48, 48, 64)
    batch: int = 2
    precision: str = "auto"
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    learning_rate: float = 1e-3
    warm_up: float = 0.02
    weight_decay: float = 1e-2
    seed: int = 0

    def rate(self, share: float) -> float:
        """Learning rate when a share of the minutes, 0 to 1, is over."""
        rise = min(1.0, (share + 1e-3) / self.warm_up)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def train(task: Task, settings: Settings, kept: Kept) -> tuple[UNet, int]:
    """Train a U-Net, or go on with one, or read the finished one; also the number of its steps.

    Args:
        task: holds the templates.
        settings: see there.
        kept: where the training is, and goes.
    """
    classes, path = max(task.names) + 1, kept.folder / "training.pt"
    torch.manual_seed(settings.seed)
    network, rng = UNet(classes, settings.widths), np.random.default_rng(settings.seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    step, before = 0, 0.0
    if path.is_file():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["seconds"]
        # Another stream than the first part's: numpy's generator is no tensor, and need not be the same one.
        rng = np.random.default_rng([settings.seed, step])
    start, saved, sums = time.process_time(), before, 0.0
    scans = (
        [read_scan(template, classes) for template in task.templates]
        if before < settings.minutes * 60
        else []
    )
    while (spent := before + time.process_time() - start) < settings.minutes * 60:
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(spent / (settings.minutes * 60))
        drawn = [draw_patch(scans, settings.patch, rng) for _ in range(settings.batch)]
        grey, labels, labelled = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        with autocast(CPU, settings.precision):
            logits = network(grey[:, None])
        loss = dice_and_cross_entropy(logits, labels, labelled)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        step, sums = step + 1, sums + float(loss.detach())
        if step % 50 == 0:
            progress(f"{UNET}: step {step}, {spent / 60:.1f} min, loss {sums / 50:.3f}")
            sums = 0.0
        if spent - saved > 60:
            _save(path, network, optimizer, step, before + time.process_time() - start)
            saved = spent
    if scans:
        _save(path, network, optimizer, step, before + time.process_time() - start)
    return network.eval(), step


def _save(path: Path, network: UNet, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


@torch.inference_mode()
def label(network: UNet, image: Image, patch: tuple[int, int, int], classes: int) -> NDArray[np.uint8]:
    """A scan's label map (Z, Y, X) on its own grid: the likeliest class, of each structure the largest part.

    Args:
        network: in evaluation mode.
        image: HU.
        patch: window (Z, Y, X), voxels.
        classes: with background.
    """
    working = on_working_grid(image)
    with autocast(CPU):
        found = slide(network, torch.from_numpy(working.array), patch, classes, AIR).numpy()
    # Outside of the working grid, which lies half a voxel within the scan at most, all is background.
    own = [
        resample(Image(one, working.grid), image.grid, fill=float(c == 0)).array
        for c, one in enumerate(found)
    ]
    labels = np.asarray(np.stack(own).argmax(axis=0), np.uint8)
    for c in range(1, classes):
        mask = labels == c
        labels[mask & ~largest_components(mask)] = 0
    return labels


def answers_of(task: Task, network: UNet, settings: Settings, kept: Kept) -> Answers:
    """The U-Net's answers; those that are kept are read."""
    answers = {}
    for case in task.cases:
        image, found = read_image(case.path), kept.read(case.name)
        if found is None:
            start = time.process_time()
            labels = label(network, image, settings.patch, max(task.names) + 1)
            found = {"labels": labels, "seconds": np.asarray(time.process_time() - start)}
            kept.write(case.name, **found)
        dice = score(found["labels"], task.references.read(case.name, image), task.names)
        answers[case.name] = Scored(dice, float(found["seconds"]))
        progress(
            f"{UNET}: {case.name}, {float(found['seconds']):.1f} s, mean Dice {np.mean(list(dice.values())):.3f}"
        )
    return answers


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="of processor time, training (%(default)s)"
    )
    parser.add_argument("--cases", type=int, default=12, metavar="N", help="scans (%(default)s)")
    parser.add_argument("--choose", action="store_true", help="the scans that settings are chosen on")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help="kept answers (%(default)s)")
    arguments = parser.parse_args()
    task, settings = Task.read(arguments.ct, arguments.cases, arguments.choose), Settings(arguments.minutes)
    torch.set_num_threads(1)
    templates = [template.name for template in task.templates]
    kept = Kept(arguments.kept, "unet", {"settings": asdict(settings), "templates": templates})
    with torch.inference_mode(mode=False):
        network, steps = train(task, settings, kept)
    peer = answers_of(task, network, settings, kept)
    model = medlsam.load(
        localizer=arguments.localizer, segmenter=arguments.segmenter, device=arguments.device
    )
    own, before = ours(model, task)
    ways = {OURS: own, UNET: peer}
    begun = {OURS: f"{before:.0f} s", UNET: f"{settings.minutes:g} min"}
    more: dict[str, Any] = {**document(ways, begun, model), **kept.settings, "steps": steps}
    answer(tables(ways, begun, task.structures), more, arguments.json)


if __name__ == "__main__":
    command(main)
