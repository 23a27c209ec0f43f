"""This project's weights files: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medlsam.errors import WeightsError
from medlsam.weights import store

CONFIG = {"channels": [16, 32], "spacing_mm": 4.0, "name": "x"}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3), torch.nn.BatchNorm3d(3))
    layers[1].running_var.fill_(1e6)  # beyond float16
    return layers.to(memory_format=torch.channels_last_3d)


def test_store_round_trip_is_exact(tmp_path: Path) -> None:
    net = network()
    store.save_weights(tmp_path / "w.safetensors", net.state_dict(), CONFIG, "localizer")
    state, config = store.load_weights(tmp_path / "w.safetensors", "localizer")
    assert config == CONFIG
    assert state.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]  # no partial file stays


def test_store_half_halves_matrices_only(tmp_path: Path) -> None:
    net = network()
    store.save_weights(tmp_path / "full.safetensors", net.state_dict(), CONFIG, "segmenter")
    store.save_weights(tmp_path / "half.safetensors", net.state_dict(), CONFIG, "segmenter", half=True)
    saved = (tmp_path / "full.safetensors").stat().st_size - (tmp_path / "half.safetensors").stat().st_size
    assert saved == pytest.approx(2 * net[0].weight.numel(), abs=64)
    state, _ = store.load_weights(tmp_path / "half.safetensors", "segmenter")
    net.load_state_dict(state)  # strict
    assert state["0.weight"].dtype == torch.float32
    assert torch.allclose(state["0.weight"], network()[0].weight, atol=2**-11)
    assert torch.equal(state["1.running_var"], torch.full((3,), 1e6))
    assert state["1.num_batches_tracked"].dtype == torch.int64


def test_store_shared_tensors(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    store.save_weights(tmp_path / "w.safetensors", {"a": tensor, "b": tensor.T}, {}, "localizer")
    state, _ = store.load_weights(tmp_path / "w.safetensors", "localizer")
    assert torch.equal(state["b"], state["a"].T)


def test_store_names_the_wrong_kind(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    store.save_weights(file, {"a": torch.zeros(1)}, CONFIG, "localizer")
    with pytest.raises(WeightsError, match="w.safetensors holds a localizer, a segmenter is wanted"):
        store.load_weights(file, "segmenter")
    with pytest.raises(
        WeightsError, match="kind must be one of localizer, segmenter, lesion-network, got 'encoder'"
    ):
        store.save_weights(file, {}, {}, "encoder")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tensor", "half", "message"),
    [
        (torch.tensor([1.0, float("nan")]), False, "'a' holds NaN or infinity"),
        (torch.tensor([[1e6]]), True, "'a' does not fit float16"),
    ],
)
def test_store_refuses_values(tmp_path: Path, tensor: torch.Tensor, half: bool, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        store.save_weights(tmp_path / "w.safetensors", {"a": tensor}, {}, "localizer", half=half)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [{"a": float("nan")}, {"a": Path("x")}])
def test_store_refuses_a_configuration_that_is_not_json(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="cannot be written as JSON"):
        store.save_weights(tmp_path / "w.safetensors", {}, config, "localizer")


@pytest.mark.parametrize("keep", [4, 100, -10])
def test_store_names_a_truncated_file(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "w.safetensors"
    store.save_weights(file, network().state_dict(), CONFIG, "localizer")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="w.safetensors is"):
        store.load_weights(file, "localizer")


def test_store_names_what_a_foreign_file_looks_like(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(WeightsError) as error:
            store.load_weights(path, "localizer")
        assert str(path) in str(error.value)
        return str(error.value)

    assert "there is no such file" in message(tmp_path / "absent")
    torch.save({"a": torch.zeros(1)}, tmp_path / "last.ckpt")
    assert "PyTorch or Lightning checkpoint" in message(tmp_path / "last.ckpt")
    starts = {
        b"": "an empty file",
        b"\x1f\x8b\x08": "gzip",
        b"<!DOCTYPE html>": "error page of a download",
        b"\x80\x02}q": "pickle",
        b"version https://git-lfs.github.com/spec/v1": "git lfs pull",
        b"???": "unknown format",
    }
    for start, expected in starts.items():
        (tmp_path / "file").write_bytes(start)
        assert expected in message(tmp_path / "file")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign", metadata={"format": "pt"})
    assert "not written by medlsam" in message(tmp_path / "foreign")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no json", "cannot be understood"),
        ("[]", "cannot be understood"),
        (json.dumps({"format": 1, "kind": "localizer"}), "cannot be understood"),
        (json.dumps({"format": 2, "kind": "localizer", "config": {}}), "format 2.*update medlsam"),
    ],
)
def test_store_names_a_bad_header(tmp_path: Path, header: str, message: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w", metadata={"medlsam": header})
    with pytest.raises(WeightsError, match=message):
        store.load_weights(tmp_path / "w", "localizer")
