"""sam-tiny at work: blocks, second looks, and the shipped weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.errors import GeometryError
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.sam_tiny.network import TinySam
from medlsam.segment.sam_tiny.segmenter import TinySegmenter, refit
from medlsam.volume import Image, LabelMap
from medlsam.weights.entries import ENTRIES
from medlsam.weights.store import load_weights
from tests.support.data.tiny_data import SMALL, ellipsoid

SHIPPED = ENTRIES["sam-tiny"].path
needs_weights = pytest.mark.skipif(not SHIPPED.exists(), reason="sam-tiny has not been trained yet")


# segmenting


def test_blocks_cover_the_prompts() -> None:
    volume, mask = ellipsoid()
    segmenter = TinySegmenter(TinySam(SMALL))
    watch = Stopwatch()
    prompts = {"egg": oracle_slices(mask), "none": [], "corner": [SlicePrompt(0, (-0.5, -0.5, 3.0, 4.0))]}
    blocks = segmenter.segment(volume, prompts, watch)
    assert set(blocks) == {"egg", "corner"}
    assert set(watch.seconds) == {"encode", "decode"}
    egg = blocks["egg"]
    found = np.argwhere(mask)
    assert (found.min(0) >= egg.origin_zyx).all()
    assert (found.max(0) < egg.end_zyx).all()
    assert egg.probability.dtype == np.float32
    assert 0 <= egg.probability.min() <= egg.probability.max() <= 1
    assert blocks["corner"].origin_zyx == (0, 0, 0)


def test_structures_do_not_change_each_other() -> None:
    volume, mask = ellipsoid()
    segmenter = TinySegmenter(TinySam(SMALL))
    egg = oracle_slices(mask)
    alone = segmenter.segment(volume, {"egg": egg})["egg"]
    beside = segmenter.segment(volume, {"other": [SlicePrompt(3, (5.0, 5.0, 20.0, 20.0))] * 30, "egg": egg})[
        "egg"
    ]
    np.testing.assert_allclose(alone.probability, beside.probability, atol=1e-4)


def _square_block(low: int, high: int) -> MaskBlock:
    probability = np.zeros((3, 30, 30), np.float32)
    probability[:, low:high, low:high] = 0.9
    return MaskBlock((5, 10, 20), probability)


def test_refit_moves_boxes_towards_the_mask() -> None:
    """Mask columns 28..37 and rows 18..27; a box 4 pixels off moves three quarters of the way."""
    block = _square_block(8, 18)
    given = [SlicePrompt(z, (31.5, 17.5, 41.5, 27.5)) for z in (5, 6, 7)]
    moved = refit(given, block, share=0.75, tolerance=0.06, error_mm=2.0)
    assert moved is not None
    assert [prompt.z for prompt in moved] == [5, 6, 7]
    assert moved[0].box_xyxy == pytest.approx((28.5, 17.5, 38.5, 27.5))
    assert [prompt.error_mm for prompt in moved] == [2.0] * 3
    sure = replace(given[0], error_mm=0.0)
    again = refit([sure, *given[1:]], block, share=0.75, tolerance=0.06, error_mm=2.0)
    assert again == [sure, *moved[1:]]


def test_refit_leaves_boxes_that_fit_and_empty_masks() -> None:
    fitting = [SlicePrompt(z, (27.5, 17.5, 37.5, 27.8)) for z in (5, 6, 7)]
    assert refit(fitting, _square_block(8, 18), 0.75, 0.06, 2.0) is None
    assert refit(fitting, _square_block(8, 8), 0.75, 0.06, 2.0) is None
    moved = refit([*fitting[:2], SlicePrompt(7, (0.0, 0.0, 5.0, 5.0))], _square_block(8, 18), 1.0, 0.06, 2.0)
    assert moved is not None
    assert moved[2].box_xyxy == pytest.approx((27.5, 17.5, 37.5, 27.5))


def test_one_slice_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _ = ellipsoid()
    asked: list[int] = []

    def count(prompts: list[SlicePrompt], *_: object) -> None:
        asked.append(len(prompts))

    monkeypatch.setattr("medlsam.segment.sam_tiny.segmenter.refit", count)
    box = (10.0, 10.0, 20.0, 20.0)
    prompts = {"one": [SlicePrompt(2, box)], "two": [SlicePrompt(2, box), SlicePrompt(3, box)]}
    TinySegmenter(TinySam(SMALL)).segment(volume, prompts)
    assert asked == [2], "what belongs to a structure shows only where slices join it"


def test_prompt_outside_and_turned_grid() -> None:
    volume, _ = ellipsoid()
    segmenter = TinySegmenter(TinySam(SMALL))
    with pytest.raises(GeometryError, match="egg"):
        segmenter.segment(volume, {"egg": [SlicePrompt(99, (1.0, 1.0, 5.0, 5.0))]})
    turned = Image(
        volume.array, replace(volume.grid, direction=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    )
    with pytest.raises(GeometryError, match="canonical"):
        segmenter.segment(turned, {"egg": [SlicePrompt(1, (1.0, 1.0, 5.0, 5.0))]})


@pytest.fixture(scope="module")
def shipped() -> TinySegmenter:
    return TinySegmenter.load(SHIPPED)


def _dice(block: MaskBlock, mask: np.ndarray) -> float:
    found = np.zeros(mask.shape, bool)
    found[tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))] = (
        block.probability >= 0.5
    )
    return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))


@needs_weights
@pytest.mark.parametrize("spacing", [(1.5, 2.0, 4.0), (1.0, 1.0, 5.0), (3.0, 3.0, 3.0)])
def test_shipped_weights_find_an_ellipsoid(
    shipped: TinySegmenter, spacing: tuple[float, float, float]
) -> None:
    volume, mask = ellipsoid((1.5, 2.0, 4.0))
    # the same object on another grid: pixels of another size, not another object
    scale = np.divide(spacing, (1.5, 2.0, 4.0))
    volume, mask = _on_spacing(volume, mask, spacing, scale)
    exact = oracle_slices(mask)
    assert _dice(shipped.segment(volume, {"egg": exact})["egg"], mask) > 0.93
    moved = []
    rng = np.random.default_rng(5)
    for prompt in exact:
        box = np.array(prompt.box_xyxy)
        box += rng.uniform(-0.15, 0.15, 4) * np.tile(box[2:] - box[:2], 2)
        moved.append(SlicePrompt(prompt.z, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
    assert _dice(shipped.segment(volume, {"egg": moved})["egg"], mask) > 0.85


def _on_spacing(
    volume: Image, mask: np.ndarray, spacing: tuple[float, float, float], scale: np.ndarray
) -> tuple[Image, np.ndarray]:
    from medlsam.volume import lps_grid, resample

    grid = lps_grid(volume.grid, spacing)
    labels = resample(LabelMap(mask.astype(np.uint8), volume.grid), grid)
    return resample(volume, grid, fill=10), labels.array > 0


@needs_weights
def test_shipped_file_is_small_and_says_what_it_is() -> None:
    state, config = load_weights(SHIPPED, "segmenter")
    assert SHIPPED.stat().st_size <= 16 * 2**20
    assert config["size"] % 32 == 0
    assert sum(value.numel() for value in state.values()) > 1e6
    assert SHIPPED.with_suffix(".md").exists()
