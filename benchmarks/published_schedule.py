"""The published pipeline's order of work on our own networks: what it costs to do each thing as often as it does.

MedLSAM's code (its inference scripts and ``AnatomyDetection``; facts in the paper's repository) goes like this:

- at every start, for every template and structure, six cubes around the extreme points go through the whole network;
- for every scan ten cubes at random places go through it, decoder and all, although only their position is used;
- then for every structure one batch of six cubes;
- then for every structure and every slice of it, the slice is prepared and encoded anew, one by one, in float32, and
  one box is decoded in it;
- the scan is read as float64 and resampled with cubic splines, and every structure is written to a compressed file of
  its own.

Its figures, and labels that are resized for nothing, are left out. So is the search within the cubes: this is the least
that the schedule costs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from medlsam.io.write import write_volume
from medlsam.localize.network.encoder import Encoder, normalise_hu
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.model import SamSlices, build_network
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.segment.sam_tiny import segmenter as tiny
from medlsam.volume import Image, LabelMap

CUBE = 64
#: Cubes of the starts, and around the extreme points of one structure.
STARTS, PER_STRUCTURE = 10, 6
#: The network's grid in the paper, mm.
SPACING_MM = 3.0


def read_as_published(path: Path) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """A scan (Z, Y, X) as float64 and its spacing along the same axes, mm."""
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image).astype(np.float64), tuple(reversed(image.GetSpacing()))


def resample_as_published(array: NDArray[np.float64], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Cubic splines to 3 mm."""
    return np.asarray(ndimage.zoom(array, [s / SPACING_MM for s in spacing], order=3))


@torch.inference_mode()
def cube_seconds(encoder: Encoder, hu: NDArray[np.float64], cubes: int, repeats: int) -> float:
    """Median seconds of one pass of so many cubes at random places.

    Args:
        encoder: in evaluation mode, float32.
        hu: (Z, Y, X) scan on the network's grid.
        cubes: at a time.
        repeats: how often; one more comes before.
    """
    values = normalise_hu(
        torch.from_numpy(np.pad(hu.astype(np.float32), CUBE // 2, mode="edge")), encoder.config
    )
    generator = np.random.default_rng(0)
    seconds = []
    for _ in range(repeats + 1):
        places = [[int(generator.integers(n - CUBE + 1)) for n in values.shape] for _ in range(cubes)]
        batch = torch.stack([values[z : z + CUBE, y : y + CUBE, x : x + CUBE] for z, y, x in places])[:, None]
        began = time.perf_counter()
        encoder(batch)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


@contextmanager
def one_crop_at_a_time() -> Iterator[None]:
    """``sam-tiny`` with batches of one."""
    usual, tiny.BATCH = tiny.BATCH, 1
    try:
        yield
    finally:
        tiny.BATCH = usual


def tiny_as_published(
    segmenter: Segmenter,
    volume: Image,
    prompts: Mapping[str, Sequence[SlicePrompt]],
    stopwatch: Stopwatch,
) -> dict[str, MaskBlock]:
    """Every structure and slice by itself; ``segmenter`` has to be a float32 one."""
    blocks: dict[str, MaskBlock] = {}
    with one_crop_at_a_time():
        for name, own in prompts.items():
            blocks |= segmenter.segment(volume, {name: own}, stopwatch)
    return blocks


def random_vit_b(published: bool) -> WholeSliceSegmenter:
    """SAM ViT-B with the same random weights both ways: as published (float32, its own attention), or as ours.

    Positions and biases begin at zero; they are moved, too, for there is nothing to compare otherwise.
    """
    torch.manual_seed(0)
    network: nn.Module = (
        sam_parts().build_sam.sam_model_registry["vit_b"]() if published else build_network("vit_b")
    )
    state = network.state_dict()
    generator = torch.Generator().manual_seed(1)
    for name in sorted(state):
        if state[name].is_floating_point():
            state[name] += 0.05 * torch.randn(state[name].shape, generator=generator)
    model = SamSlices(
        network, SEGMENTERS["sam_vit_b"], torch.device("cpu"), "float32" if published else "auto"
    )
    return WholeSliceSegmenter(model)


def written_as_published(blocks: Mapping[str, MaskBlock], volume: Image) -> None:
    """A compressed file of the whole scan's size for every structure."""
    with tempfile.TemporaryDirectory() as folder:
        for name, block in blocks.items():
            whole = np.zeros(volume.array.shape, np.uint8)
            z, y, x = (slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))
            whole[z, y, x] = block.probability >= 0.5
            write_volume(LabelMap(whole, volume.grid), Path(folder) / f"{name}.nii.gz")


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of some work, and what it returned."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def slices_of(
    prompts: Mapping[str, Sequence[SlicePrompt]], some: int
) -> list[tuple[int, dict[str, list[SlicePrompt]]]]:
    """``some`` slices, evenly spread over those that are asked about, with the boxes in them."""
    by_slice: dict[int, dict[str, list[SlicePrompt]]] = {}
    for name, own in prompts.items():
        for prompt in own:
            by_slice.setdefault(prompt.z, {}).setdefault(name, []).append(prompt)
    chosen = np.linspace(0, len(by_slice) - 1, min(some, len(by_slice))).round().astype(int)
    listed = sorted(by_slice.items())
    return [listed[i] for i in chosen]
