"""Folders of one case, and of a dataset: which image of a folder is meant."""

from __future__ import annotations

from pathlib import Path

from medlsam.errors import UsageError
from medlsam.io.folders import IMAGE_SUFFIXES, is_scan, visible
from medlsam.io.label_names import read_json


def one_image(folder: Path, stem: str) -> Path | None:
    """The image file ``<stem>.*`` of a folder, or None.

    Raises:
        UsageError: there are two.
    """
    found = [f for suffix in IMAGE_SUFFIXES if (f := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder}: {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def pair_image(folder: Path) -> Path | None:
    """The ``image.*`` of a case folder; None where other scans lie beside it, since those count too."""
    image = one_image(folder, "image")
    others = [f for f in visible(folder) if is_scan(f) and f.name.split(".")[0] not in ("image", "labels")]
    return None if others else image


def check_channels(images: Path) -> None:
    """Refuse an nnU-Net dataset of several channels.

    Raises:
        UsageError: ``dataset.json`` beside the folder ``images`` names more than one.
    """
    file = images.parent / "dataset.json"
    if not images.name.startswith("images") or not file.is_file():
        return
    data = read_json(file, UsageError)
    channels = (data.get("channel_names") or data.get("modality")) if isinstance(data, dict) else None
    if channels is not None and len(channels) > 1:
        raise UsageError(f"{file}: {len(channels)} channels ({channels}); medlsam reads one, CT")
