"""Decide where networks run, in what precision and with how many threads: the only place that does."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import torch

from medlsam.errors import UsageError
from medlsam.option_fields import choice
from medlsam.options import PRECISIONS

_NAME = re.compile(r"(auto|cpu|mps|cuda(?::(?P<index>\d+))?)")


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn a name into a device.

    Args:
        name: ``auto`` (the first CUDA device, else Apple's, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or
            ``mps``.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have.
    """
    text = str(name).strip().lower()
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"device {str(name)!r} is unknown; give auto, cpu, cuda, cuda:N or mps")
    if text == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if text == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps': this machine or this torch has no Apple GPU; give auto or cpu")
    if text.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(match["index"] or 0)
        if index >= count:
            have = f"only {count} CUDA device(s), numbered from 0" if count else "no CUDA device"
            raise UsageError(f"device {text!r}: torch {torch.__version__} sees {have}; give auto or cpu")
        return torch.device("cuda", index)
    return torch.device(text)


def has_fast_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware.

    Emulated, bfloat16 was measured at a hundredth of the speed of float32: see docs/decisions/speed.
    """
    try:
        flags = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # older torch, or a build that cannot ask the CPU
        ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(ask()) if ask is not None else False
    return any(bool(flags.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16", "arm_bf16"))


def autocast_dtype(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Choose the precision of forward passes on a device; None means float32.

    Args:
        device: where the network runs.
        precision: ``auto``: the fastest there (CUDA: bfloat16 where the hardware has it, else float16; CPU: bfloat16
            where the hardware has it, else float32; others: float32). ``float32`` and ``bfloat16`` are used even
            where they are slow.

    Raises:
        UsageError: an unknown precision.
    """
    if choice("precision", precision, PRECISIONS) != "auto":
        return torch.bfloat16 if precision == "bfloat16" else None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and has_fast_bf16():
        return torch.bfloat16
    return None


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Return a context in which forward passes run in ``autocast_dtype(device, precision)``."""
    dtype = autocast_dtype(device, precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def lightning_precision(precision: str, device: torch.device) -> str:
    """Translate a training precision into Lightning's name, filling in ``auto`` for the device.

    Args:
        precision: ``auto``, or one of Lightning's names (``bf16-mixed``, ``32-true``, ...), passed through.
        device: where the training runs.
    """
    if precision != "auto":
        return precision
    names = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", None: "32-true"}
    return names[autocast_dtype(device)]


def limit_threads(threads: int) -> None:
    """Limit the threads of this process, where several processes share the processors.

    Args:
        threads: 1 or more, for torch and for SimpleITK.
    """
    import SimpleITK as sitk  # noqa: N813

    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
