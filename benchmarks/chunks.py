"""How many boxes and crops at a time are fastest: SAM ViT-B's decoder, and both halves of sam-tiny.

    python benchmarks/chunks.py [--sizes 1 2 4 8 16 32 64] [--repeats 5]

Milliseconds for each box or crop, the least of the repeats. ViT-B has random weights, on which times do not depend. Two
minutes on two cores, with nothing else running.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, options, progress
from benchmarks.published_schedule import random_vit_b
from medlsam.runtime.device import autocast
from medlsam.segment.sam import model as sam
from medlsam.segment.sam_tiny.segmenter import TinySegmenter

SIDE = 512


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of some work, the least of several times after a first one."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def boxes_of(count: int, size: float) -> np.ndarray:
    """(count, 4) boxes that differ."""
    low = np.linspace(0.2, 0.4, count)[:, None] * size
    return np.concatenate([low, low, low + 0.3 * size, low + 0.3 * size], axis=1)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, real=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    most = max(arguments.sizes)
    model = random_vit_b(published=False).model
    progress("one pass of ViT-B's encoder")
    embedding = model.encode(np.random.default_rng(0).normal(0, 100, (SIDE, SIDE)).astype(np.int16))
    tiny = medlsam.load(device="cpu").segmenter
    assert isinstance(tiny, TinySegmenter)
    config = tiny.config
    crops = torch.randn(most, config.channels, config.size, config.size)
    table = Table(title=f"ms for each, {torch.get_num_threads()} threads")
    for head in ("at a time", "ViT-B, decode a box", "sam-tiny, encode a crop", "sam-tiny, decode a box"):
        table.add_column(head, justify="right")
    rows: dict[str, dict[str, float]] = {"vit_b_decode": {}, "tiny_encode": {}, "tiny_decode": {}}
    for size in arguments.sizes:
        progress(f"{size} at a time")
        asked = boxes_of(max(size, 8), SIDE)
        with patch.object(sam, "_CPU_BOXES", size):
            seconds = least(partial(model.decode, embedding, asked, (SIDE, SIDE)), arguments.repeats)
        rows["vit_b_decode"][str(size)] = 1e3 * seconds / len(asked)
        boxes = torch.from_numpy(boxes_of(size, config.size)).float()
        errors = torch.full((size,), 6.0)
        with torch.inference_mode(), autocast(tiny.device, tiny.precision):
            encode = partial(tiny.quick.encode, crops[:size], boxes, errors)
            seen = encode()
            rows["tiny_encode"][str(size)] = 1e3 * least(encode, arguments.repeats) / size
            decode = partial(tiny.quick.decode, seen, boxes)
            rows["tiny_decode"][str(size)] = 1e3 * least(decode, arguments.repeats) / size
        table.add_row(str(size), *(f"{row[str(size)]:.2f}" for row in rows.values()))
    answer([table], {"threads": torch.get_num_threads(), **rows}, arguments.json)


if __name__ == "__main__":
    command(main)
