"""sam-tiny's training: samples, the command line."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from medlsam.errors import WeightsError
from medlsam.segment.regions import flood
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.segment.sam_tiny.train import (
    TinyTraining,
    hard_dice,
    main,
    net_state,
)
from medlsam.segment.sam_tiny.train_arrays import INDEX, VERSION, load_arrays
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig, move_box
from medlsam.segment.sam_tiny.train_samples import SampleSource, SampleStream
from tests.support.data.tiny_data import SMALL, ellipsoid


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of two ellipsoids, one held out."""
    from medlsam.runtime.atomic_files import write_json

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
            "regions": ["head-neck"],
        }
        entries[name] = entry
    write_json(folder / INDEX, {"version": VERSION, "cases": entries})
    return folder


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
    sampling = SamplingConfig(exact=1.0, jittered=0.0, nameless=0.0, empty=0.0, prior=0.3, rough=0.0)
    source = SampleSource(load_arrays(pool), SMALL, sampling)
    generator = np.random.default_rng(0)
    agreement = []
    for _ in range(40):
        made = source.draw(generator)
        places = torch.argwhere(made["mask"] > 0.5).flip(1)
        tight = torch.cat([places.min(0).values, places.max(0).values + 1])
        assert made["crop"].shape == (SMALL.channels, 64, 64)
        assert (tight - made["box"]).abs().max() < 7, made["box"]
        if not made["mask_prompt"].isnan().any():
            hint = functional.interpolate(made["mask_prompt"][None, None], size=64)[0]
            agreement.append(hard_dice(hint - 0.5, made["mask"][None]).item())
    assert np.mean(agreement) > 0.8


def test_draws_repeat_with_their_seed(pool: Path) -> None:
    source = SampleSource(load_arrays(pool), SMALL, SamplingConfig())
    first, again = (source.draw(np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(first, again, equal_nan=True)


def test_the_number_of_loaders_and_a_resumption_change_no_sample(pool: Path) -> None:
    source = SampleSource(load_arrays(pool), SMALL, SamplingConfig())
    stream = SampleStream(source, 3, 2)
    alone, two = (list(islice(DataLoader(stream, 2, num_workers=n), 4)) for n in (0, 2))
    torch.testing.assert_close(alone, two, equal_nan=True, rtol=0, atol=0)
    later = list(islice(DataLoader(SampleStream(source, 3, 2, first=4), 2), 2))
    torch.testing.assert_close(alone[2:], later, equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(alone[0]["crop"], alone[1]["crop"])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_empty_samples_have_no_mask_but_rough_ones_may_reach_there(pool: Path, share: float) -> None:
    sampling = SamplingConfig(empty=1.0, empty_rough=share, nameless=0.0)
    source = SampleSource(load_arrays(pool), SMALL, sampling)
    generator = np.random.default_rng(0)
    drawn = [source.draw(generator) for _ in range(20)]
    assert all(made["mask"].max() == 0 for made in drawn)
    rough = [made for made in drawn if not made["mask_prompt"].isnan().any()]
    assert len(rough) == (0 if share == 0 else 20)
    assert all(made["mask_prompt"].max() > 0.5 for made in rough)


def test_a_training_that_was_killed_ends_with_the_same_weights(pool: Path, tmp_path: Path) -> None:
    def fit(name: str, steps: int, *more: str) -> Path:
        arguments = _arguments(pool, tmp_path / name, steps)
        main([*arguments, "--trainer.enable_checkpointing=true", "--trainer.limit_val_batches=0", *more])
        return max((tmp_path / name).rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)

    unbroken = fit("whole", 5)
    resumed = fit("rest", 5, f"--ckpt_path={fit('killed', 2)}")
    one, other = (torch.load(file, weights_only=True) for file in (unbroken, resumed))
    assert one["global_step"] == other["global_step"] == 5
    torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)


def test_the_training_ends_with_its_minutes_and_goes_on_with_the_rest(pool: Path, tmp_path: Path) -> None:
    endless = [
        *_arguments(pool, tmp_path, 1000),
        "--trainer.enable_checkpointing=true",
        "--trainer.limit_val_batches=0",
    ]
    main([*endless, "--model.minutes=0.02"])
    first = next(tmp_path.rglob("*.ckpt"))
    state = torch.load(first, map_location="cpu", weights_only=True)
    assert 0 < state["global_step"] < 1000
    (schedule,) = state["lr_schedulers"]
    assert schedule["seconds"] >= 1.2
    # the minutes are over already: one more step shows it
    main([*endless, "--model.minutes=0.02", f"--ckpt_path={first}"])
    last = max(torch.load(f, weights_only=True)["global_step"] for f in tmp_path.rglob("*.ckpt"))
    assert last == state["global_step"] + 1


def test_flood_keeps_to_similar_values(rng: np.random.Generator) -> None:
    volume, mask = ellipsoid()
    found = [region for _ in range(40) if (region := flood(volume.array[8], (1.5, 2.0), rng)) is not None]
    assert found
    inside = [(region & mask[8]).sum() / region.sum() for region in found]
    assert max(inside) > 0.95


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
    written = next(tmp_path.rglob("sam-tiny.safetensors"))
    segmenter = TinySegmenter.load(target)
    for name, value in TinySegmenter.load(written).net.state_dict().items():
        torch.testing.assert_close(value, segmenter.net.state_dict()[name], rtol=0, atol=0)
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
    source = SampleSource(load_arrays(pool), SMALL, SamplingConfig(nameless=0.0, empty=0.0))
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
