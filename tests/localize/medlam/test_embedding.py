"""A scan seen cube by cube: which cubes, what is read from them, and where a kernel is found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.localize.medlam.embedding import PatchedScan, _shared_cubes, see
from medlsam.localize.medlam.kernels import (
    CELLS,
    SIDES,
    cut_kernels,
    fit_kernels,
)
from medlsam.localize.network.encoder import predicted_offset
from medlsam.volume import Image, LabelMap
from tests.support.data.published_file import write_checkpoint

CHANNELS = 6


class Stub:
    """A network without memory of the cube: the same tissue has the same features in any cube; counts its passes."""

    channels = CHANNELS

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.filters = torch.randn(CHANNELS, 1, 3, 3, 3, generator=generator)
        self.passes: list[tuple[str, int]] = []

    def positions(self, cubes: Tensor) -> Tensor:
        self.passes.append(("positions", len(cubes)))
        return torch.tensor([0.1, 0.2, 0.3]) + cubes.mean((1, 2, 3, 4))[:, None]

    def features(self, cubes: Tensor) -> tuple[Tensor, ...]:
        self.passes.append(("features", len(cubes)))
        return tuple(
            F.normalize(F.conv3d(F.avg_pool3d(cubes, stride) - 0.4, self.filters, padding=1), dim=1)
            for stride in (4, 2, 1)
        )

    def __call__(self, cubes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.positions(cubes), self.features(cubes)


def tissue(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray[Any, Any]:
    """(Z, Y, X) HU that vary from place to place."""
    noise = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    smooth = F.avg_pool3d(F.avg_pool3d(noise, 5, 1, 2), 3, 1, 1)[0, 0].numpy()
    return np.asarray(smooth / smooth.std() * 150, np.float32)


def seen(volume: Image, batch: int = 2) -> tuple[PatchedScan, Stub]:
    stub = Stub()
    return see(volume, stub, batch=batch), stub  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scan() -> Image:
    """On the network's own spacing, so that nothing is interpolated."""
    return Image(tissue((56, 60, 64)), Grid((56, 60, 64), (3.0,) * 3, (-90.0, 40.0, 500.0)))


def at(volume: Image, z: int, y: int, x: int) -> list[float]:
    return [float(v) for v in volume.grid.ijk_to_lps([x, y, z])]


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, -1, 0, 0, 0, 1, 0)])
def test_cubes_point_to_superior_anterior_and_left(direction: tuple[float, ...]) -> None:
    dark = Image(np.full((40, 40, 40), -1000, np.int16), Grid((40,) * 3, (3.0,) * 3, (0, 0, 0), direction))
    middle = dark.grid.ijk_to_lps([20, 20, 20])
    for step, axis, sign in (
        ((0, 0, 12), 0, 1),
        ((0, 12, 0), 1, -1),
        ((12, 0, 0), 2, 1),
    ):  # LPS; y is posterior
        array = dark.array.copy()
        i, j, k = (round(v) for v in dark.grid.lps_to_ijk(middle + np.asarray(step)))
        array[k, j, i] = 1500
        found, _ = seen(replace(dark, array=array))
        cube = found._cubes(found._index(middle[None]))[0, 0]
        wanted = [32, 32, 32]
        wanted[axis] += 4 * sign
        assert torch.nonzero(cube > 0.5).tolist() == [wanted]
        assert cube.shape == (64, 64, 64)
        assert float(cube.sum()) == pytest.approx(1.0)  # outside the scan is air, and air is 0


def test_latents_turn_with_the_axes(scan: Image) -> None:
    found, _ = seen(scan)
    latents, _ = found.read([at(scan, 28, 30, 32)])
    level = float(found._cubes(found._index([at(scan, 28, 30, 32)])).mean())
    assert latents[0].tolist() == pytest.approx([0.3 + level, -(0.2 + level), 0.1 + level], abs=1e-5)
    # What lies farther to anterior in the original's axes lies at smaller y in LPS, at most r away.
    nearer = latents - torch.tensor([[0.0, 0.1, 0.0]])
    offset = predicted_offset(latents, nearer, found.range_mm)
    assert offset[0].tolist() == pytest.approx([0, -600 * np.tanh(0.1), 0], abs=1e-3)
    assert found.range_mm.tolist() == [600, 600, 1500]


def test_starts_lie_in_the_body_and_cost_one_pass_each_once() -> None:
    array = np.full((120, 90, 150), -1000, np.float32)
    array[:, 10:80, 20:70] = 40
    array[:, 10:80, 70:130] = -850  # lung is body
    volume = Image(array, Grid((120, 90, 150), (3.0,) * 3, (5.0, 6.0, 7.0)))
    found, stub = seen(volume)
    places, latents = found.starts()
    ijk = np.rint(volume.grid.lps_to_ijk(places.numpy())).astype(int)
    assert (array[ijk[:, 2], ijk[:, 1], ijk[:, 0]] > -1000).all()
    steps = [np.unique(np.diff(np.unique(column))) for column in ijk.T]
    assert [s.tolist() for s in steps] == [[32]] * 3
    assert latents.shape == places.shape == (4 * 3 * 3, 3)
    assert sum(count for _, count in stub.passes) == len(places)
    assert {kind for kind, _ in stub.passes} == {"positions"}
    assert max(count for _, count in stub.passes) <= 3 * found.batch
    before = len(stub.passes)
    assert found.starts()[0] is places
    assert len(stub.passes) == before


def test_small_and_empty_scans_have_starts(scan: Image) -> None:
    places, _ = seen(scan)[0].starts()
    assert len(places) == 4**3  # twice as dense as by half a cube
    air = Image(np.full((3, 60, 64), -1000, np.int16), Grid((3, 60, 64), (3.0,) * 3))
    places, latents = seen(air)[0].starts()
    assert len(places) == len(latents) == 1 * 4 * 4
    assert bool(((places >= 0) & (places <= torch.tensor([189.0, 177.0, 6.0]))).all())


def test_a_place_is_read_from_the_cube_around_it(scan: Image) -> None:
    found, stub = seen(scan, batch=2)
    points = [at(scan, 28, 30, 32), at(scan, 10, 50, 20), at(scan, 28, 30, 32), at(scan, 40, 12, 44)]
    latents, kernels = found.read(points)
    assert kernels.shape == (4, CELLS * CHANNELS)
    assert stub.passes == [("positions", 2), ("features", 2), ("positions", 1), ("features", 1)]
    assert torch.equal(kernels[0], kernels[2])
    for part in kernels.split([CHANNELS * side**3 for side in SIDES], dim=1):
        assert part.norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    alone, own = found.read([points[3]])
    assert torch.allclose(latents[3], alone[0], atol=1e-6)
    assert torch.allclose(kernels[3], own[0], atol=1e-6)
    # The finest part holds the 8 voxels around the place, which is the fifth of them.
    fine = kernels[0].split([CHANNELS * side**3 for side in SIDES])[2].reshape(CHANNELS, 8, 8, 8)
    maps = stub.features(found._cubes(found._index([points[0]])))
    assert torch.allclose(fine[:, 4, 4, 4] * 8**1.5, maps[2][0, :, 32, 32, 32], atol=1e-5)
    assert [t.shape for t in found.read(np.zeros((0, 3)))] == [(0, 3), (0, CELLS * CHANNELS)]


def test_fit_is_the_mean_cosine_at_every_voxel() -> None:
    stub = Stub()
    cubes = torch.from_numpy(tissue((64, 64, 64)))[None, None] / 1000 + 0.4
    maps = stub.features(cubes)
    kernels = torch.cat([cut_kernels(maps), torch.rand(1, CELLS * CHANNELS)])
    score, voxels = fit_kernels([level[0] for level in maps], kernels, (32, 32, 32), reach=32)
    assert score.shape == (2, 65, 65, 65)
    assert voxels[0, 0, 0].tolist() == [0, 0, 0]
    assert voxels[-1, -1, -1].tolist() == [64, 64, 64]
    assert float(score[0, 32, 32, 32]) == pytest.approx(1.0, abs=1e-5)
    parts = kernels.split([CHANNELS * side**3 for side in SIDES], dim=1)
    total = torch.zeros(2, 16, 16, 16)
    for level, part, side, stride in zip(maps, parts, SIDES, (4, 2, 1), strict=True):
        weight = part.reshape(2, CHANNELS, side, side, side) / side**1.5
        step = 4 // stride  # every fourth voxel is a cell of all three scales
        total += (
            F.conv3d(level, weight, padding=side // 2)[0][:, ::step, ::step, ::step][:, :16, :16, :16] / 3
        )
    assert torch.allclose(score[:, :64:4, :64:4, :64:4], total, atol=1e-5)
    near, voxels = fit_kernels([level[0] for level in maps], kernels, (32, 20, 51), reach=5)
    assert voxels[0, 0, 0].tolist() == [24, 12, 44]
    assert torch.allclose(near, score[:, 24:41, 12:29, 44:57], atol=1e-5)


def test_a_kernel_is_found_where_it_was_read(scan: Image) -> None:
    found, stub = seen(scan, batch=3)
    points = torch.tensor(
        [at(scan, z, y, x) for z, y, x in ((28, 30, 32), (18, 40, 25), (35, 22, 40), (20, 20, 20))]
    )
    kernels = found.read(points)[1]
    # Whole cells of the coarsest scale, which pooling commutes with.
    away = torch.tensor([[12.0, -24.0, 0.0], [-24.0, 12.0, 0.0], [0.0, 0.0, 0.0], [12.0, 36.0, -12.0]])
    stub.passes.clear()
    matches = found.refine(kernels[:, None].repeat(1, 2, 1), points + away, 96.0)
    assert stub.passes == [("features", 3), ("features", 1)]
    assert matches.points.shape == (4, 2, 3)
    assert (matches.points - points[:, None]).norm(dim=-1).max() < 0.5
    assert matches.similarity.min() > 0.95
    assert torch.equal(matches.points[:, 0], matches.points[:, 1])


def test_small_windows_share_cubes(scan: Image) -> None:
    found, stub = seen(scan)
    points = torch.tensor([at(scan, z, y, x) for z in (24, 30) for y in (26, 34) for x in (28, 36)])
    kernels = found.read(points)[1][:, None]
    stub.passes.clear()
    matches = found.refine(kernels, points, 12.0)
    assert sum(count for _, count in stub.passes) < 8
    assert (matches.points[:, 0] - points).norm(dim=-1).max() < 2.0
    stub.passes.clear()
    found.refine(kernels[:2], points[:2], 96.0)
    assert stub.passes == [("features", 2)]
    with torch.inference_mode():
        middles, which = _shared_cubes(torch.tensor([[0, 0, 0], [9, 4, 0], [11, 0, 0], [100, 0, 7]]), 5)
    assert middles.tolist() == [[4, 2, 0], [11, 0, 0], [100, 0, 7]]
    assert which.tolist() == [0, 0, 1, 2]


def test_nothing_is_found_outside_the_window(scan: Image) -> None:
    found, _ = seen(scan)
    point = torch.tensor([at(scan, 28, 30, 32)])
    kernel = found.read(point)[1][:, None]
    around = point + torch.tensor([[36.0, 0.0, 0.0]])
    assert abs(float(found.refine(kernel, around, 39.0).points[0, 0, 0] - point[0, 0])) < 1.0
    matches = found.refine(kernel, around, 16.0)
    assert (matches.points[0, 0] - around[0]).abs().max() <= 16.0
    assert float(matches.similarity[0, 0]) < 0.95
    # A window around a place outside the scan is moved into it.
    low = torch.tensor([at(scan, 0, 0, 0)])
    assert torch.isfinite(found.refine(kernel, low - 500.0, 16.0).points).all()
    assert (found.refine(kernel, low - 500.0, 16.0).points - low).abs().max() <= 16.0


def test_a_scan_of_another_spacing_and_direction_has_the_same_places(scan: Image) -> None:
    # The same tissue stored from inferior-left-posterior corners on, voxels in another order.
    turned = Image(
        np.ascontiguousarray(scan.array[::-1, :, ::-1].transpose(1, 2, 0)),
        Grid(
            (60, 64, 56),
            (3.0,) * 3,
            tuple(at(scan, 55, 0, 63)),  # type: ignore[arg-type]
            (0, -1, 0, 0, 0, 1, -1, 0, 0),
        ),
    )
    here, there = seen(scan)[0], seen(turned)[0]
    point = [at(scan, 28, 30, 32)]
    assert torch.allclose(here.read(point)[1], there.read(point)[1], atol=1e-4)
    assert np.allclose(here.view, there.view)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled scans of one bone in noise, as a templates folder, and a third to look in."""
    folder = tmp_path_factory.mktemp("phantoms")
    for name, shift in (("a", 0), ("b", 2), ("c", 1)):
        grid = Grid((16, 20, 20), (3.0,) * 3)
        array = tissue(grid.shape_zyx, seed=7)
        bone = np.s_[5 + shift : 10 + shift, 8:13, 6 + shift : 12 + shift]
        array[bone] += 900
        case = folder / "templates" / name if name != "c" else folder / "scans"
        write_volume(Image(array.astype(np.int16), grid), case / "image.nii.gz")
        if name != "c":
            labels = np.zeros(grid.shape_zyx, np.uint8)
            labels[bone] = 1
            write_volume(LabelMap(labels, grid), case / "labels.nii.gz")
    (folder / "templates" / "labels.json").write_text(json.dumps({"bone": 1}))
    return folder


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_line_runs_the_published_network(phantoms: Path, tmp_path: Path) -> None:
    weights = write_checkpoint(tmp_path / "medlam.pth", base=1)
    use = ("--localizer", "published", "--weights", weights, "--device", "cpu")
    result = call("template", "build", phantoms / "templates", "--output", tmp_path / "t.medlsam", *use)
    assert result.exit_code == 0, result.output
    result = call(
        "localize", "--support", tmp_path / "t.medlsam", "--images", phantoms / "scans",
        "--output", tmp_path / "out", "--search", "random-start", *use,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "out").glob("*/localization.json")
    bone = json.loads(written.read_text())["organs"]["bone"]
    assert np.isfinite(bone["box"]["min"] + bone["box"]["max"]).all()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["weights"]["localizer"]["name"] == "published"


def test_weights_without_published_is_a_wrong_call(phantoms: Path, tmp_path: Path) -> None:
    result = call(
        "localize", "--support", phantoms / "templates", "--images", phantoms / "scans",
        "--output", tmp_path / "out", "--weights", "medlam.pth",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "add --localizer published" in result.stderr
    assert not (tmp_path / "out").exists()
