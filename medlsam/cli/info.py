"""``medlsam info``."""

from __future__ import annotations

import platform
from typing import Any

from rich.table import Table

from medlsam.cli.common import AsJson, answers, print_json, report_errors

_LIBRARIES = ("torch", "numpy", "scipy", "SimpleITK", "lightning", "torchio", "segment-anything")


@report_errors
def info(as_json: AsJson = False) -> None:
    """Versions, device and weights: what to send along with a question."""
    found = collect()
    if as_json:
        print_json(found)
        return
    table = Table(show_header=False)
    table.add_row("medlsam", found["medlsam"])
    table.add_row("python", found["python"])
    table.add_row("system", found["system"])
    table.add_row("libraries", ", ".join(f"{name} {v or 'absent'}" for name, v in found["libraries"].items()))
    device = found["device"]
    names = f" ({', '.join(device['cuda'])})" if device["cuda"] else ""
    table.add_row("device", f"{device['auto']}{names}, {device['threads']} CPU threads")
    table.add_row("weights folder", found["weights_folder"])
    for name, state in found["weights"].items():
        table.add_row(f"weights {name}", state)
    answers().print(table)


def collect() -> dict[str, Any]:
    """What ``medlsam info --json`` prints."""
    import torch

    from medlsam._version import __version__
    from medlsam.runtime.device import autocast_dtype, resolve_device
    from medlsam.weights.entries import ENTRIES, cache_dir
    from medlsam.weights.registry import state

    device = resolve_device("auto")
    dtype = autocast_dtype(device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "medlsam": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "device": {
            "auto": str(device),
            "precision": "float32" if dtype is None else str(dtype).removeprefix("torch."),
            "cuda": [torch.cuda.get_device_name(index) for index in range(count)],
            "threads": torch.get_num_threads(),
        },
        "weights_folder": str(cache_dir()),
        "weights": {name: state(entry) for name, entry in ENTRIES.items()},
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
