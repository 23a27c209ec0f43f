"""Which device and which precision are taken, and what is said where there is none."""

import contextlib
from pathlib import Path

import pytest
import torch

from medlsam.errors import UsageError
from medlsam.runtime import device

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CUDA devices that are not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_gpu() -> None:
    assert device.resolve_device() == CPU
    assert device.resolve_device(" CPU ") == CPU
    assert device.resolve_device(CPU) == CPU
    with pytest.raises(UsageError, match=r"'cuda:0'.*sees no CUDA device; give auto or cpu"):
        device.resolve_device("cuda:0")
    with pytest.raises(UsageError, match="no Apple GPU"):
        device.resolve_device("mps")


@pytest.mark.usefixtures("gpus")
def test_with_gpus() -> None:
    assert device.resolve_device("auto") == CUDA
    assert device.resolve_device("cuda") == CUDA
    assert device.resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match=r"'cuda:2'.*only 2 CUDA device"):
        device.resolve_device("cuda:2")


def test_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.resolve_device("auto") == torch.device("mps")
    assert device.autocast_dtype(torch.device("mps")) is None


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "cpu:0"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="give auto, cpu, cuda, cuda:N or mps"):
        device.resolve_device(name)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, False),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_bf16_follows_the_cpu(
    flags: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert device.has_fast_bf16() is expected
    assert device.autocast_dtype(CPU) == (torch.bfloat16 if expected else None)
    assert device.lightning_precision("auto", CPU) == ("bf16-mixed" if expected else "32-true")


def test_bf16_on_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert device.has_fast_bf16()
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not device.has_fast_bf16()


def test_bf16_agrees_with_linux() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.is_file() else []
    if "flags" not in flags:
        pytest.skip("not Linux on an x86 processor")
    assert device.has_fast_bf16() == bool({"avx512_bf16", "amx_bf16"} & set(flags))


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_precision(supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert device.autocast_dtype(CUDA) is dtype


def test_a_given_precision_is_passed_through() -> None:
    assert device.lightning_precision("16-mixed", CPU) == "16-mixed"


def test_autocast_does_what_autocast_dtype_says(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.eye(2)
    monkeypatch.setattr(device, "has_fast_bf16", lambda: False)
    with device.autocast(CPU) as context:
        assert (matrix @ matrix).dtype == torch.float32
    assert context is None or isinstance(context, contextlib.AbstractContextManager)
    monkeypatch.setattr(device, "has_fast_bf16", lambda: True)
    with device.autocast(CPU):
        assert (matrix @ matrix).dtype == torch.bfloat16


@pytest.mark.parametrize("fast", [True, False])
def test_precision(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_fast_bf16", lambda: fast)
    assert device.autocast_dtype(CPU) is (torch.bfloat16 if fast else None)
    assert device.autocast_dtype(CPU, "float32") is None
    assert device.autocast_dtype(CPU, "bfloat16") is torch.bfloat16
    with device.autocast(CPU, "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    with pytest.raises(UsageError, match="precision: 'half' is unknown"):
        device.autocast_dtype(CPU, "half")
