"""A user's torchio transforms: they change values as the draw's seed says, never places, and come from the YAML."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchio
import yaml
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.pretrain.datamodule import PretrainDataModule
from medlsam.localize.pretrain.dataset import (
    PairDataset,
    PairLoader,
    PairSample,
    StepSampler,
)
from medlsam.localize.pretrain.module import cli
from medlsam.localize.pretrain.torchio import change_values, check_transforms
from medlsam.localize.pretrain.view_pairs import ViewOptions
from medlsam.pool.packed_scan import SUFFIX, write_packed_scan
from medlsam.volume import Image
from tests.support.data.pretrain_data import write_config, write_scans
from tests.support.paths import ROOT

OPTIONS = ViewOptions(shape_zyx=(16, 16, 16), points=8, negatives=8, shift_mm=16.0)
NAMES = ("points", "places", "valid", "negatives", "negative_places")
DOCUMENT = ROOT / "docs" / "how-to" / "pretraining-at-scale.md"


@pytest.fixture
def draws(tmp_path: Path) -> PairDataset:
    array = np.random.default_rng(0).normal(0, 300, (40, 32, 34)).astype(np.float32)
    path = tmp_path / f"a{SUFFIX}"
    write_packed_scan(path, Image(array, Grid(array.shape, (4.0, 4.0, 4.0))))
    return PairDataset([path], np.ones(1), OPTIONS, 4.0, (7,))


def with_transforms(draws: PairDataset, *transforms: torchio.Transform) -> PairDataset:
    return PairDataset(draws.scans, np.ones(1), OPTIONS, 4.0, (7,), transforms=transforms)


def blocks(draw: PairSample) -> list[torch.Tensor]:
    return [view.hu for view in draw.pair.views]


def test_only_the_values_change(draws: PairDataset) -> None:
    """Places, points and the chances of the house's own changes are those of a draw without transforms."""
    plain, noisy = draws[5], with_transforms(draws, torchio.RandomNoise(std=(20, 20)))[5]
    for one, other in zip(blocks(plain), blocks(noisy), strict=True):
        assert one.shape == other.shape
        assert other.dtype == torch.float32
        assert float((other - one).std()) == pytest.approx(20, rel=0.05)
    noise = [(other - one).flatten()[:500] for one, other in zip(blocks(plain), blocks(noisy), strict=True)]
    assert not torch.equal(*noise)  # the two views are changed each by itself
    for name in NAMES:
        assert torch.equal(getattr(plain.pair, name), getattr(noisy.pair, name)), name
    assert plain.intensity == noisy.intensity
    assert torch.equal(plain.window_chance, noisy.window_chance)
    for view, changed in zip(plain.pair.views, noisy.pair.views, strict=True):
        assert (view.frame.centre == changed.frame.centre).all()
        assert view.keep == changed.keep


def test_without_transforms_nothing_is_drawn_for_them(draws: PairDataset) -> None:
    never = with_transforms(draws, torchio.RandomNoise(std=(20, 20), p=0))
    for one, other in zip(blocks(draws[5]), blocks(never[5]), strict=True):
        assert torch.equal(one, other)
    data = PretrainDataModule(phantoms=1)
    assert data.transforms == []


def test_views_depend_on_the_number_of_the_draw_alone(draws: PairDataset) -> None:
    """In this process or in others, from the first step or resumed at the third, whatever the global generator says."""
    changed = with_transforms(
        draws,
        torchio.RandomAnisotropy(),
        torchio.OneOf([torchio.RandomBlur(), torchio.RandomBiasField(order=1)]),
        torchio.RandomSpike(p=0.5),
        torchio.RandomNoise(std=(0, 30)),
    )

    def views(first: int, steps: int, workers: int) -> list[torch.Tensor]:
        loader = PairLoader(changed, StepSampler(first, steps, 2), workers, pinned=False)
        return [batch.render(EncoderConfig())["views"] for batch in loader]

    torch.manual_seed(1)
    whole = views(0, 4, 0)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))  # the global generator is where it was
    torch.manual_seed(2)
    for one, other in zip(whole[2:], views(2, 2, 2), strict=True):
        assert torch.equal(one, other)
    plain = PairLoader(draws, StepSampler(0, 1, 2), 0, pinned=False)
    assert not torch.equal(whole[0], next(iter(plain)).render(EncoderConfig())["views"])


def test_transforms_see_axes_and_lengths_of_the_scan() -> None:
    """Axis 2 of torchio is z, and lengths are mm."""
    block = torch.zeros(21, 23, 25)
    block[10, 11, 12] = 1000.0
    blurred = change_values(block, [torchio.Blur(std=(0, 0, 6))], 3.0, np.random.default_rng(0))
    line = blurred[:, 11, 12]
    assert float(line.sum()) == pytest.approx(1000, rel=1e-3)
    offsets = torch.arange(21) - 10.0
    assert float((line * offsets**2).sum() / 1000) ** 0.5 == pytest.approx(2.0, rel=0.05)  # 6 mm
    assert int((blurred > 0.1).sum()) == int((line > 0.1).sum())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_keep_their_place(axis: int) -> None:
    """To half a voxel, since torchio samples slices by the nearest voxel."""
    z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in (40, 44, 48)], indexing="ij")
    ramp = (x, y, z)[axis] * 10.0
    for seed in range(3):
        thick = torchio.RandomAnisotropy(axes=(axis,), downsampling=(1.5, 4))
        changed = change_values(ramp, [thick], 3.0, np.random.default_rng(seed))
        inner = (changed - ramp)[6:-6, 6:-6, 6:-6] / 10.0
        assert float(inner.abs().max()) <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (torchio.RandomAffine(), "RandomAffine moves voxels.*data.views"),
        (torchio.RandomFlip(), "RandomFlip moves voxels"),
        (torchio.RandomElasticDeformation(), "RandomElasticDeformation moves voxels"),
        (torchio.CropOrPad(8), "CropOrPad moves voxels"),
        (torchio.RandomSwap(), "RandomSwap moves voxels"),  # an intensity transform by its class
        (torchio.RandomMotion(), "RandomMotion moves voxels"),
        (torchio.Lambda(torch.neg), "nothing says that Lambda"),
        (torchio.Compose([torchio.RandomNoise(), torchio.RandomFlip()]), "RandomFlip moves voxels"),
        (torchio.OneOf([torchio.RandomNoise(), torchio.RandomAffine()]), "RandomAffine moves voxels"),
        (torchio.Compose([torch.neg]), "nothing says that builtin_function_or_method"),
    ],
)
def test_what_moves_voxels_is_refused(transform: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"data.transforms: {reason}"):
        PretrainDataModule(phantoms=1, transforms=[torchio.RandomNoise(), transform])


def test_what_changes_values_passes() -> None:
    nested = torchio.Compose([torchio.RandomGamma(), torchio.OneOf([torchio.RandomAnisotropy()])])
    check_transforms(
        [nested, torchio.Clamp(-1000, 1000), torchio.RandomGhosting(), torchio.RandomBiasField()]
    )


class Halved(torchio.IntensityTransform):
    """Says that it changes values only, and does not keep to it."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        for image in self.get_images(subject):
            image.set_data(image.data[:, ::2])
        return subject


class Infinite(torchio.IntensityTransform):
    """Divides by nothing."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        for image in self.get_images(subject):
            image.set_data(image.data / 0.0)
        return subject


def test_what_a_transform_makes_is_looked_at() -> None:
    block, rng = torch.full((8, 10, 12), 5.0), np.random.default_rng(0)
    with pytest.raises(
        UsageError, match=r"Halved made a grid of \(6, 10, 8\) voxels \(x, y, z\) of one of \(12"
    ):
        change_values(block, [Halved()], 3.0, rng)
    with pytest.raises(UsageError, match="Infinite made values that are not finite, of HU from 5 to 5"):
        change_values(block, [Infinite()], 3.0, rng)


def test_transforms_come_from_the_configuration(tmp_path: Path) -> None:
    """A run with those of the document works, and what it prints and keeps gives the same again."""
    path = write_config(write_scans(tmp_path / "scans"), tmp_path, max_steps=1)
    content = yaml.safe_load(path.read_text())
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    for example in examples:
        values = yaml.safe_load(example)["data"]
        values.pop("sources", None)  # of other scans
        content["data"].update(values)
    path.write_text(yaml.safe_dump(content))
    printed = CliRunner().invoke(app, ["pretrain", "fit", "--config", str(path), "--print_config"])
    assert printed.exit_code == 0
    again = yaml.safe_load(printed.stdout)["data"]["transforms"]
    assert [one["class_path"] for one in again] == ["torchio.RandomAnisotropy", "torchio.RandomNoise"]
    content["data"]["transforms"] = again
    path.write_text(yaml.safe_dump(content))
    done = cli(["fit", "--config", str(path)])
    anisotropy, noise = done.datamodule.transforms
    assert isinstance(anisotropy, torchio.RandomAnisotropy)
    assert (anisotropy.axes, anisotropy.downsampling_range, anisotropy.probability) == ((2,), (1.5, 3), 0.5)
    assert noise.std_range == (0, 30)
    assert done.datamodule.train_dataloader().dataset.transforms == [anisotropy, noise]
    assert done.datamodule.train_dataloader().dataset.intensity.remap_probability == 0.5
    assert done.datamodule.val_dataloader().dataset.transforms == ()  # validation sees scans as they are


def test_a_refused_transform_is_told_by_the_command(tmp_path: Path) -> None:
    path = write_config(tmp_path, tmp_path)
    refused = '[{"class_path": "torchio.RandomFlip"}]'
    command = ["pretrain", "fit", "--config", str(path), "--data.transforms", refused]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "RandomFlip moves voxels" in " ".join((done.stdout + done.stderr).split())


def test_torchio_is_imported_by_one_file() -> None:
    package = ROOT / "medlsam"
    lines = [
        path.name
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.split()[:2] in (["import", "torchio"], ["from", "torchio"])
    ]
    assert lines == ["torchio.py"]
    code = "import sys, medlsam.pipeline; print('torchio' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False"  # only pretraining needs it
