"""sam-tiny: crops, network, training and the shipped weights."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medlsam.errors import GeometryError, WeightsError
from medlsam.geometry import Grid
from medlsam.segment import tiny_crops
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.tiny import TinySegmenter
from medlsam.segment.tiny_augment import flood
from medlsam.segment.tiny_boxes import SamplingConfig, move_box
from medlsam.segment.tiny_crops import CropFrame, frame_around
from medlsam.segment.tiny_data import SampleSource
from medlsam.segment.tiny_net import TinyConfig, TinySam
from medlsam.segment.tiny_pool import INDEX, load_pool
from medlsam.segment.tiny_refine import refit
from medlsam.segment.tiny_train import TinyTraining, hard_dice, main, soft_dice_loss
from medlsam.segment.tiny_weights import net_state
from medlsam.segment.volume_segmenter import MaskBlock
from medlsam.stopwatch import Stopwatch
from medlsam.volume import Volume
from medlsam.weights.registry import ENTRIES
from medlsam.weights.store import load_weights

SMALL = TinyConfig(size=64, stem=8, quarter=8, eighth=16, sixteenth=16, dim=32, heads=4, mlp=32)
SHIPPED = ENTRIES["sam-tiny"].path
needs_weights = pytest.mark.skipif(not SHIPPED.exists(), reason="sam-tiny has not been trained yet")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def ellipsoid(spacing_xyz: tuple[float, float, float] = (1.5, 2.0, 4.0)) -> tuple[Volume, np.ndarray]:
    """A 90 HU ellipsoid in 20 HU tissue with noise, and its mask; radii 30, 22 and 20 mm."""
    grid = Grid((16, 60, 90), spacing_xyz)
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape_zyx], indexing="ij")
    sx, sy, sz = spacing_xyz
    distance = ((x - 48) * sx / 30) ** 2 + ((y - 28) * sy / 22) ** 2 + ((z - 7.5) * sz / 20) ** 2
    mask = distance <= 1
    noise = np.random.default_rng(1).normal(0, 8, grid.shape_zyx)
    return Volume((np.where(mask, 110, 10) + noise).astype(np.int16), grid), mask


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of two ellipsoids, one held out."""
    from medlsam.files import write_json

    folder = tmp_path_factory.mktemp("pool")
    volume, mask = ellipsoid()
    entries = {}
    for name, held_out in (("a", False), ("b", True), ("c", False)):
        np.save(folder / f"{name}.image.npy", volume.array)
        np.save(folder / f"{name}.labels.npy", mask.astype(np.uint8))
        entry = {
            "spacing_zyx": [4.0, 2.0, 1.5],
            "group": "openkbp",
            "names": {"1": "Egg"},
            "held_out": held_out,
        }
        entries[name] = entry
    write_json(folder / INDEX, {"cases": entries})
    return folder


# crops


def test_crop_of_a_ramp_reads_the_positions(rng: np.random.Generator) -> None:
    """A plane that holds its own coordinates shows where each crop pixel was read, turned and mirrored."""
    v, u = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    frame = CropFrame((24.3, 19.2), 30.0, (1.5, 2.5), angle=0.4, mirrored=True)
    crop = tiny_crops.sample(np.stack([u, v]), frame, 16).numpy()
    places = (np.arange(16) + 0.5) / 16
    expected = frame.to_pixels(np.stack(np.meshgrid(places, places, indexing="xy"), axis=-1))
    np.testing.assert_allclose(crop.transpose(1, 2, 0), expected, atol=1e-3)
    np.testing.assert_allclose(frame.from_pixels(expected)[3, 5], [places[5], places[3]], atol=1e-9)


def test_crop_that_shrinks_is_averaged_and_stays_in_place() -> None:
    plane = np.zeros((200, 200))
    plane[80:120, 90:130] = 100.0
    frame = CropFrame((99.5, 99.5), 200.0, (1.0, 1.0))
    crop = tiny_crops.sample(plane[None], frame, 20)[0].numpy()
    weights = np.arange(20) * 10 + 4.5
    assert crop.sum() * 100 == pytest.approx(plane.sum(), rel=0.02)
    assert (crop.sum(0) * weights).sum() / crop.sum() == pytest.approx(109.5, abs=0.6)
    assert (crop.sum(1) * weights).sum() / crop.sum() == pytest.approx(99.5, abs=0.6)


def test_paste_undoes_the_crop() -> None:
    v, u = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    frame = frame_around((10, 12, 30, 22), (1.5, 2.0), 1.0, 36.0)
    crops = tiny_crops.sample(np.stack([u, v]), frame, 32)
    back = tiny_crops.paste(crops, frame, (12, 13), (9, 16)).numpy()
    np.testing.assert_allclose(back[0], u[13:22, 12:28], atol=1e-2)
    np.testing.assert_allclose(back[1], v[13:22, 12:28], atol=1e-2)


def test_box_in_the_crop() -> None:
    frame = frame_around((9.5, 19.5, 29.5, 29.5), (2.0, 1.0), 2.0, 10.0)
    assert frame.side_mm == 80.0
    np.testing.assert_allclose(frame.box((9.5, 19.5, 29.5, 29.5), 80), [20, 35, 60, 45])


def test_channels_are_windows_from_minus_one_to_one() -> None:
    crop = torch.tensor([40.0, 240.0, -1000.0]).reshape(3, 1, 1)
    made = tiny_crops.channels(crop, ((-160.0, 240.0), (-500.0, 1300.0)))
    assert made.flatten().tolist() == pytest.approx([0.0, -0.4, 1.0, -1.0])


# network


def test_shapes_and_batch_invariance() -> None:
    torch.manual_seed(0)
    net = TinySam(SMALL).eval()
    crops, boxes = torch.randn(3, SMALL.channels, 64, 64), torch.tensor([[16.0, 16, 48, 40]]).repeat(3, 1)
    errors, priors = torch.tensor([0.0, 3, 6]), torch.full((3, 32, 32), torch.nan)
    priors[1] = 0.8
    with torch.inference_mode():
        together, quality = net(crops, boxes, errors, priors)
        ones = [slice(i, i + 1) for i in range(3)]
        alone = torch.cat([net(crops[i], boxes[i], errors[i], priors[i])[0] for i in ones])
        without = net(crops, boxes, errors)[0]
    assert together.shape == (3, 64, 64)
    assert quality.shape == (3,)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together[::2], without[::2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[1], without[1], atol=1e-3)


def test_the_box_matters() -> None:
    torch.manual_seed(0)
    net = TinySam(SMALL).eval()
    crops = torch.randn(1, SMALL.channels, 64, 64)
    one, other = (
        net(crops, torch.tensor([b]), torch.zeros(1))[0] for b in ([8.0, 8, 30, 30], [30.0, 30, 60, 60])
    )
    assert not torch.allclose(one, other, atol=1e-3)


def test_segment_anything_is_in_the_path() -> None:
    modules = {type(module).__name__ for module in TinySam(SMALL).modules()}
    assert {"PromptEncoder", "MaskDecoder", "TwoWayTransformer"} <= modules


# losses and samples


def test_dice_by_hand() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, :2] = 1
    logits = torch.where(target > 0, 50.0, -50.0)
    logits[0, 0] = -50
    assert hard_dice(logits, target).tolist() == pytest.approx([2 * 4 / 12, 1.0])
    assert soft_dice_loss(logits, target).tolist() == pytest.approx([1 - 9 / 13, 0.0], abs=1e-5)


def test_soft_dice_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    target = (torch.rand(2, 5, 5, generator=generator) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, target), (logits,))


def test_moved_boxes_stay_boxes(rng: np.random.Generator) -> None:
    box = np.array([10.0, 20.0, 30.0, 100.0])
    moved = np.array([move_box(box, SamplingConfig(), rng)[0] for _ in range(300)])
    assert (moved[:, 2:] > moved[:, :2]).all()
    share = np.abs(moved - box) / np.tile(box[2:] - box[:2], 2)
    assert share.max() <= 0.4 + 1e-9
    exact = np.array([move_box(box, SamplingConfig(exact=1.0, jittered=0.0), rng)[0] for _ in range(5)])
    assert (exact == box).all()


def test_samples_fit_their_boxes(pool: Path) -> None:
    """With exact boxes the mask's box in the crop is the prompt, turned and mirrored too."""
    sampling = SamplingConfig(exact=1.0, jittered=0.0, nameless=0.0, empty=0.0, prior=0.3)
    source = SampleSource(load_pool(pool), SMALL, sampling)
    generator = np.random.default_rng(0)
    agreement = []
    for _ in range(40):
        made = source.draw(generator)
        places = torch.argwhere(made["mask"] > 0.5).flip(1)
        tight = torch.cat([places.min(0).values, places.max(0).values + 1])
        assert made["crop"].shape == (SMALL.channels, 64, 64)
        assert (tight - made["box"]).abs().max() < 7, made["box"]
        if not made["prior"].isnan().any():
            hint = functional.interpolate(made["prior"][None, None], size=64)[0]
            agreement.append(hard_dice(hint - 0.5, made["mask"][None]).item())
    assert np.mean(agreement) > 0.8


def test_draws_repeat_with_their_seed(pool: Path) -> None:
    source = SampleSource(load_pool(pool), SMALL, SamplingConfig())
    first, again = (source.draw(np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(first, again, equal_nan=True)


def test_empty_samples_have_no_mask(pool: Path) -> None:
    source = SampleSource(load_pool(pool), SMALL, SamplingConfig(empty=1.0, nameless=0.0))
    generator = np.random.default_rng(0)
    assert all(source.draw(generator)["mask"].max() == 0 for _ in range(5))


def test_flood_keeps_to_similar_values(rng: np.random.Generator) -> None:
    volume, mask = ellipsoid()
    found = [region for _ in range(40) if (region := flood(volume.array[8], (1.5, 2.0), rng)) is not None]
    assert found
    inside = [(region & mask[8]).sum() / region.sum() for region in found]
    assert max(inside) > 0.95


# training


def _arguments(pool: Path, folder: Path, steps: int) -> list[str]:
    net = [f"--model.net.{k}={v}" for k, v in asdict(SMALL).items() if isinstance(v, int)]
    net += [f"--data.net.{k}={v}" for k, v in asdict(SMALL).items() if isinstance(v, int)]
    trainer = {
        "accelerator": "cpu",
        "max_steps": steps,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": "false",
        "enable_model_summary": "false",
        "default_root_dir": folder,
        "val_check_interval": steps,
        "logger": "false",
    }
    data = ["--data.workers=0", "--data.batch_size=2", f"--data.pool={pool}", "--data.slices=1"]
    return ["fit", *net, *data, *(f"--trainer.{k}={v}" for k, v in trainer.items()), "--seed_everything=1"]


def test_fast_dev_run(pool: Path, tmp_path: Path) -> None:
    main([*_arguments(pool, tmp_path, 1), "--trainer.fast_dev_run=true"])


def test_train_export_load(pool: Path, tmp_path: Path) -> None:
    main([*_arguments(pool, tmp_path, 2), "--trainer.enable_checkpointing=true"])
    checkpoint = next(tmp_path.rglob("*.ckpt"))
    target = tmp_path / "net.safetensors"
    main(["export", str(checkpoint), str(target)])
    state = net_state(torch.load(checkpoint, map_location="cpu", weights_only=True))
    segmenter = TinySegmenter.load(target)
    assert segmenter.config == SMALL
    for name, value in segmenter.net.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=2e-3, rtol=2e-3)
    bad = tmp_path / "bad.safetensors"
    from medlsam.weights.store import save_weights

    save_weights(bad, state, {**asdict(SMALL), "flavour": 1}, kind="segmenter")
    with pytest.raises(WeightsError, match="flavour"):
        TinySegmenter.load(bad)
    save_weights(bad, state, asdict(replace(SMALL, stem=16)), kind="segmenter")
    with pytest.raises(WeightsError, match="do not fit"):
        TinySegmenter.load(bad)


def test_overfits_one_batch(pool: Path) -> None:
    """Forty steps on four crops bring the Dice loss to less than half."""
    torch.manual_seed(0)
    source = SampleSource(load_pool(pool), SMALL, SamplingConfig(nameless=0.0, empty=0.0))
    generator = np.random.default_rng(2)
    drawn = [source.draw(generator) for _ in range(4)]
    batch = {key: torch.stack([sample[key] for sample in drawn]) for key in drawn[0]}
    module = TinyTraining(SMALL)
    optimizer = torch.optim.AdamW(module.net.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        parts = module.losses(batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        values.append(float(parts["dice"].detach()))
    assert values[-1] < values[0] / 2


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
    moved = refit(given, block, share=0.75, tolerance=0.06)
    assert moved is not None
    assert [prompt.z for prompt in moved] == [5, 6, 7]
    assert moved[0].box_xyxy == pytest.approx((28.5, 17.5, 38.5, 27.5))


def test_refit_leaves_boxes_that_fit_and_empty_masks() -> None:
    fitting = [SlicePrompt(z, (27.5, 17.5, 37.5, 27.8)) for z in (5, 6, 7)]
    assert refit(fitting, _square_block(8, 18), 0.75, 0.06) is None
    assert refit(fitting, _square_block(8, 8), 0.75, 0.06) is None
    moved = refit([*fitting[:2], SlicePrompt(7, (0.0, 0.0, 5.0, 5.0))], _square_block(8, 18), 1.0, 0.06)
    assert moved is not None
    assert moved[2].box_xyxy == pytest.approx((27.5, 17.5, 37.5, 27.5))


def test_one_slice_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _ = ellipsoid()
    asked: list[int] = []

    def count(prompts: list[SlicePrompt], *_: object) -> None:
        asked.append(len(prompts))

    monkeypatch.setattr("medlsam.segment.tiny.refit", count)
    box = (10.0, 10.0, 20.0, 20.0)
    prompts = {"one": [SlicePrompt(2, box)], "two": [SlicePrompt(2, box), SlicePrompt(3, box)]}
    TinySegmenter(TinySam(SMALL)).segment(volume, prompts)
    assert asked == [2], "what belongs to a structure shows only where slices join it"


def test_prompt_outside_and_turned_grid() -> None:
    volume, _ = ellipsoid()
    segmenter = TinySegmenter(TinySam(SMALL))
    with pytest.raises(GeometryError, match="egg"):
        segmenter.segment(volume, {"egg": [SlicePrompt(99, (1.0, 1.0, 5.0, 5.0))]})
    turned = Volume(
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
    shipped: TinySegmenter, spacing: tuple[float, float, float], rng: np.random.Generator
) -> None:
    volume, mask = ellipsoid((1.5, 2.0, 4.0))
    # the same object on another grid: pixels of another size, not another object
    scale = np.divide(spacing, (1.5, 2.0, 4.0))
    volume, mask = _on_spacing(volume, mask, spacing, scale)
    exact = oracle_slices(mask)
    assert _dice(shipped.segment(volume, {"egg": exact})["egg"], mask) > 0.93
    moved = []
    for prompt in exact:
        box = np.array(prompt.box_xyxy)
        box += rng.uniform(-0.15, 0.15, 4) * np.tile(box[2:] - box[:2], 2)
        moved.append(SlicePrompt(prompt.z, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
    assert _dice(shipped.segment(volume, {"egg": moved})["egg"], mask) > 0.85


def _on_spacing(
    volume: Volume, mask: np.ndarray, spacing: tuple[float, float, float], scale: np.ndarray
) -> tuple[Volume, np.ndarray]:
    from medlsam.volume import lps_grid, resample

    grid = lps_grid(volume.grid, spacing)
    labels = resample(Volume(mask.astype(np.uint8), volume.grid), grid, "nearest", fill=0)
    return resample(volume, grid, fill=10), labels.array > 0


@needs_weights
def test_shipped_file_is_small_and_says_what_it_is() -> None:
    state, config = load_weights(SHIPPED, "segmenter")
    assert SHIPPED.stat().st_size <= 16 * 2**20
    assert config["size"] % 32 == 0
    assert sum(value.numel() for value in state.values()) > 1e6
    assert SHIPPED.with_suffix(".md").exists()
