"""The network of the paper: names and shapes of the released checkpoint, what it computes, and which files it reads."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor

from medlsam.errors import UsageError, WeightsError
from medlsam.localize.localizer import load_localizer
from medlsam.localize.medlam.network import PublishedNetwork, load_published, normalise
from medlsam.localize.network.encoder import Encoder, EncoderConfig
from medlsam.weights.entries import ENTRIES
from medlsam.weights.store import save_weights
from tests.support.data.published_file import small_network, write_checkpoint
from tests.support.paths import DATA


@pytest.fixture(scope="module")
def patches() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.avg_pool3d(torch.rand(2, 1, 64, 64, 64, generator=generator), 5, 1, 2)


def test_names_and_shapes_are_those_of_the_released_checkpoint() -> None:
    # Typed from the original's source, layer by layer; in its order.
    rows = (DATA / "published_state.txt").read_text().split("\n")[:-1]
    released = {name: tuple(map(int, shape)) for name, *shape in (row.split() for row in rows)}
    with torch.device("meta"):
        state = torch.nn.DataParallel(PublishedNetwork()).state_dict()
    found = {name: tuple(value.shape) for name, value in state.items()}
    assert found == released
    assert list(found) == list(released)
    sizes = {name: int(np.prod(shape)) for name, shape in found.items()}
    assert sum(sizes.values()) == 15_067_878
    assert sizes["module.fc1.weight"] + sizes["module.fc1.bias"] == 4_718_784


def test_a_pass_is_the_original_s(patches: Tensor) -> None:
    """Written out once more with functions alone, in the order of the original's forward."""
    network, patches = small_network(), patches[:1]
    state = network.state_dict()

    def convolve(name: str, x: Tensor) -> Tensor:
        prefix = f"{name}.model.conv1_1.Conv"
        x = F.conv3d(x, state[f"{prefix}.weight"], state[f"{prefix}.bias"], padding=1)
        mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), correction=0, keepdim=True)
        return torch.relu((x - mean) / torch.sqrt(variance + 1e-5))

    def twice(level: int, x: Tensor) -> Tensor:
        return convolve(f"conv{level}_2", convolve(f"conv{level}_1", x))

    down = [twice(0, patches)]
    for level in range(1, 5):
        down.append(twice(level, F.max_pool3d(down[-1], 2)))
    latent = down[4].reshape(1, -1)
    for name in ("fc1", "fc2", "fc3"):
        latent = latent @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    x = down[4]
    levels = []
    for level in range(5, 9):
        up = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        x = twice(level, torch.cat([up, down[8 - level]], dim=1))
        levels.append(x / x.norm(dim=1, keepdim=True).clamp(min=1e-12))

    positions, features = network(patches)
    assert torch.allclose(positions, latent, atol=1e-5)
    assert [tuple(f.shape) for f in features] == [(1, 8, n, n, n) for n in (16, 32, 64)]
    for found, wanted in zip(features, levels[1:], strict=True):
        # But for a few vectors of nearly nothing, which rounding gives any direction.
        assert ((found - wanted).abs().amax(dim=1) < 1e-3).float().mean() > 0.9999


def test_positions_alone_do_not_run_the_decoder(patches: Tensor) -> None:
    network = small_network()
    positions, features = network(patches)
    ran: list[str] = []
    for name, part in network.named_children():
        part.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert torch.equal(network.positions(patches), positions)
    assert {name[:5] for name in ran} == {*(f"conv{n}" for n in range(5)), "fc1", "fc2", "fc3"}
    ran.clear()
    assert torch.equal(network.features(patches)[2], features[2])
    assert not [name for name in ran if name.startswith(("fc", "classification"))]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 1, 64, 64, 64\), got \(1, 1, 32, 64, 64\)"):
        small_network().positions(torch.zeros(1, 1, 32, 64, 64))


def test_normalisation_goes_through_the_knots() -> None:
    hu = np.array([-3024.0, -1000.0, -600.0, -200.0, 0.0, 200.0, 850.0, 1500.0, 3000.0], np.float32)
    wanted = [0, 0, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1]
    assert normalise(hu) == pytest.approx(wanted)
    assert normalise(hu).dtype == np.float32


def test_every_form_of_the_checkpoint_is_read(tmp_path: Path) -> None:
    state = small_network().state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    training = {
        "epoch": 7,
        "state_dict": parallel,
        "best_loss": np.float32(12.5),  # a NumPy number, as the original's training loop keeps it
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(state, tmp_path / "bare.pth")
    torch.save(parallel, tmp_path / "medlam.pth")
    torch.save(training, tmp_path / "MedLAM_12.5.tar")
    save_file(parallel, tmp_path / "medlam.safetensors")
    with (
        zipfile.ZipFile(tmp_path / "MedLAM_12.5.tar") as new,
        zipfile.ZipFile(tmp_path / "old.tar", "w") as old,
    ):
        for item in new.namelist():  # as NumPy before 2.0 wrote it
            old.writestr(item, new.read(item).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    for name in ("bare.pth", "medlam.pth", "MedLAM_12.5.tar", "medlam.safetensors", "old.tar"):
        network = load_published(tmp_path / name)
        assert network.base == 2
        assert not network.training
        for key, value in network.state_dict().items():
            assert torch.equal(value, state[key]), (name, key)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = small_network().state_dict()
    state["fc1.weight"] = state["fc1.weight"][:, :100].clone()
    state["conv9.weight"] = torch.zeros(1)
    del state["conv3_2.model.conv1_1.Conv.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=r"x\.pth does not fit MedLAM of width 2: 1 missing \(conv3_2"
    ) as caught:
        load_published(tmp_path / "x.pth")
    assert "1 not known (conv9.weight)" in str(caught.value)
    assert "fc1.weight (16, 100) instead of (16, 2048)" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["module.image_encoder.pos_embed", "module.mask_decoder.x"], "SAM family.*--segmenter"),
        (["encoder.stem.0.weight", "encoder.heads.0.bias"], "training checkpoint of medlsam"),
        (["layer1.0.weight"], r"unknown kind \(keys layer1.0.weight\)"),
    ],
)
def test_other_kinds_are_named(keys: list[str], words: str, tmp_path: Path) -> None:
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=rf"x\.pth holds .*{words}.*wanted: the paper's localizer"):
        load_localizer(tmp_path / "x.pth", "cpu")


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>quota exceeded</html>")
    with pytest.raises(WeightsError, match="HTML or XML page"):
        load_localizer("published", "cpu", tmp_path / "page.pth")
    torch.save({"model": print}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="is not opened, since opening could run code"):
        load_localizer("published", "cpu", tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"none\.pth: there is no such file"):
        load_localizer("published", "cpu", tmp_path / "none.pth")


def test_localizers_of_both_kinds_are_recognised(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "medlam.pth")
    named = load_localizer("published", "cpu", path)
    by_path = load_localizer(path, "cpu")
    assert (named.kind, named.name) == ("patches", "published")
    assert (by_path.kind, by_path.name) == ("patches", "medlam")
    assert named.signature == by_path.signature == hashlib.sha256(path.read_bytes()).hexdigest()
    other = load_localizer(write_checkpoint(tmp_path / "other.pth", seed=1), "cpu")
    assert other.signature != named.signature
    config = EncoderConfig(channels=(8, 8, 8, 8), fine_channels=8)
    save_weights(
        tmp_path / "e.safetensors",
        Encoder(config).state_dict(),
        {"channels": [8] * 4, "fine_channels": 8},
        "localizer",
    )
    assert load_localizer(tmp_path / "e.safetensors", "cpu").kind == "dense"


def test_published_needs_its_file_and_only_published_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path))
    with pytest.raises(
        WeightsError,
        match=r"medlam\.pth does not exist; it is not downloaded by itself: get it from .*openmedlab/MedLSAM",
    ):
        load_localizer("published", "cpu")
    path = write_checkpoint(tmp_path / "medlam.pth")
    with pytest.raises(UsageError, match="'published' only, not with 'medlam-tiny'"):
        load_localizer("medlam-tiny", "cpu", path)
    with pytest.raises(WeightsError, match="written by medlsam"):
        load_localizer("published", "cpu", ENTRIES["medlam-tiny"].path)
    with pytest.raises(UsageError, match="batch must be 1 or more, got 0"):
        load_localizer("published", "cpu", path, batch=0)
    (tmp_path / "weights").mkdir()
    path.rename(tmp_path / "weights" / "medlam.pth")
    assert load_localizer("published", "cpu").kind == "patches"
