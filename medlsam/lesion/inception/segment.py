"""Lesions of whole scans: one network or several of the same lesions, whose probabilities are averaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import MedlsamError, UsageError
from medlsam.io.cases import Case, find_cases, read_case
from medlsam.io.label_names import read_json
from medlsam.io.write import write_volume
from medlsam.lesion.inception.config import InceptionConfig
from medlsam.lesion.inception.network import InceptionUNet
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.lesion.inception.sliding_window import sliding_window
from medlsam.runtime.atomic_files import write_json
from medlsam.runtime.device import autocast, resolve_device
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.resample import resample
from medlsam.volume.volume import Image, LabelMap
from medlsam.weights.checkpoint import check_fit
from medlsam.weights.store import load_weights

_log = logging.getLogger(__name__)
LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class LesionNetwork:
    """A trained network with what it has to know of scans; made by ``load_network``."""

    network: InceptionUNet
    plan: ScanPlan
    device: torch.device

    @property
    def names(self) -> dict[int, str]:
        """Value to lesion of the label maps that it writes."""
        return dict(self.plan.names)

    def __call__(self, windows: Tensor) -> Tensor:
        """Map windows (B, 1, Z, Y, X), standardised, to logits (B, classes, Z, Y, X)."""
        with torch.inference_mode(), autocast(self.device):
            logits: Tensor = self.network(windows)
        return logits


@dataclass(frozen=True)
class SegmentedCase:
    """One scan that was worked on.

    Attributes:
        case: its name.
        path: the label map.
        volumes_ml: lesion to its volume, all regions together; empty where the scan was not segmented.
        error: why there is no label map; None where there is one.
        skipped: whether the label map was there already.
    """

    case: str
    path: Path
    volumes_ml: dict[str, float]
    error: str | None = None
    skipped: bool = False

    @property
    def status(self) -> str:
        """``done``, ``failed`` or ``skipped``."""
        return "failed" if self.error is not None else "skipped" if self.skipped else "done"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        volumes = {name: round(volume, 4) for name, volume in self.volumes_ml.items()}
        more = {"error": self.error} if self.error is not None else {"volume_ml": volumes}
        return {"case": self.case, "status": self.status, "path": str(self.path), **more}


def load_network(path: Path | str, device: str | torch.device = "auto") -> LesionNetwork:
    """Load a weights file that ``medlsam.lesion.inception.train`` wrote.

    Args:
        path: ``*.safetensors``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        WeightsError: absent, damaged or of another kind.
    """
    state, config = load_weights(path, "lesion-network")
    plan, net = ScanPlan.from_dict(config["plan"]), InceptionConfig.from_dict(config["net"])
    network = InceptionUNet(net, plan.classes)
    check_fit(state, network.state_dict(), path, "the network that it describes")
    network.load_state_dict(state)
    where = resolve_device(device)
    return LesionNetwork(network.to(where).eval(), plan, where)


def segment_scan(
    image: Image, networks: Sequence[LesionNetwork], *, overlap: float = 0.5, mirror: bool = False
) -> LabelMap:
    """Segment the lesions of one scan.

    Args:
        image: HU, of any spacing and direction.
        networks: of the same lesions; the folds of one training, for example.
        overlap: share of a window that the next one covers again.
        mirror: also see every window mirrored: better as a rule, eight times the work.

    Returns:
        The label map on the scan's own grid, in the values of the training's dataset. Memory: four bytes per class and
        voxel of the network's grid, and twelve per voxel of the scan.

    Raises:
        UsageError: no network, or networks of different lesions.
    """
    check_together(networks)
    names = networks[0].plan.names
    # Networks of one plan share their grid, so their probabilities are added there.
    total: dict[ScanPlan, tuple[Image, NDArray[Any]]] = {}
    for one in networks:
        if one.plan not in total:
            volume = one.plan.resampled(image)
            total[one.plan] = (volume, np.zeros((one.plan.classes, *volume.array.shape), np.float32))
        volume, summed = total[one.plan]
        air = float(one.plan.standardised(LOWEST_HU))
        summed += sliding_window(
            one.plan.standardised(volume.array),
            one,
            one.plan.patch_zyx,
            one.plan.classes,
            overlap=overlap,
            mirror=mirror,
            fill=air,
            device=one.device,
        )
    best = np.zeros(image.array.shape, np.uint16)
    highest = _on(total, 0, image)
    for number, (value, _) in enumerate(names, start=1):
        probability = _on(total, number, image)
        better = probability > highest
        best[better] = value
        np.maximum(highest, probability, out=highest)
    return LabelMap(best.astype(np.uint8) if best.max(initial=0) < 256 else best, image.grid, image.source)


def _on(total: dict[ScanPlan, tuple[Image, NDArray[Any]]], number: int, image: Image) -> NDArray[Any]:
    """The summed probabilities of a class on the scan's grid, interpolated linearly."""
    parts = [resample(Image(s[number], v.grid), image.grid, fill=0.0).array for v, s in total.values()]
    summed: NDArray[Any] = sum(parts[1:], parts[0])
    return summed


def check_together(networks: Sequence[LesionNetwork]) -> None:
    """Refuse networks that cannot be averaged.

    Raises:
        UsageError: none, or of different lesions.
    """
    if not networks:
        raise UsageError("give one weights file or more")
    for one in networks[1:]:
        if one.plan.names != networks[0].plan.names:
            raise UsageError(
                f"networks of different lesions cannot be averaged: {dict(networks[0].plan.names)} and {one.names}"
            )


def segment_scans(
    images: Path | str,
    weights: Sequence[Path | str],
    output: Path | str,
    *,
    device: str = "auto",
    overlap: float = 0.5,
    mirror: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[SegmentedCase]:
    """Segment the lesions of many scans: ``OUTPUT/<case>.nii.gz`` each, and ``OUTPUT/labels.json``.

    A scan that cannot be read does not stop the others.

    Args:
        images: a scan, a folder of scans, an nnU-Net dataset; see ``find_cases``.
        weights: files of ``medlsam.lesion.inception.train``; several are averaged.
        output: folder; made where it is not there. A label map that is there stays.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        overlap: see ``segment_scan``.
        mirror: see ``segment_scan``.
        overwrite: write label maps anew.
        on_progress: gets how many are done, of how many, and the name of the one that begins.

    Yields:
        Each scan as it is done.

    Raises:
        UsageError: no scans, networks of different lesions, an output folder with other lesions, or one where a label
            map would replace a scan.
        WeightsError: see ``load_network``.
    """
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap is a share from 0 to below 1, got {overlap}")
    cases, output = find_cases(images), Path(output)
    networks = [load_network(file, device) for file in weights]
    check_together(networks)
    names = {str(value): name for value, name in networks[0].plan.names}
    _check_output(output, names, cases)
    write_json(output / LABELS_FILE, names)
    for done, case in enumerate(cases):
        if on_progress is not None:
            on_progress(done, len(cases), case.name)
        target = output / f"{case.name}.nii.gz"
        if target.is_file() and not overwrite:
            yield SegmentedCase(case.name, target, {}, skipped=True)
        else:
            yield _segmented(case, networks, target, overlap, mirror)


def _segmented(
    case: Case, networks: Sequence[LesionNetwork], target: Path, overlap: float, mirror: bool
) -> SegmentedCase:
    try:
        found = segment_scan(read_case(case), networks, overlap=overlap, mirror=mirror)
        write_volume(found, target, names=networks[0].names)
    except MedlsamError as error:
        return SegmentedCase(case.name, target, {}, str(error))
    except Exception as error:  # one scan (too large, a full disk, ...) must not cost the others
        _log.debug("%s", case.path, exc_info=True)
        return SegmentedCase(case.name, target, {}, f"{case.path}: {type(error).__name__}: {error}")
    voxel_ml = float(np.prod(found.grid.spacing_xyz)) / 1000
    volumes = {
        name: int((found.array == value).sum()) * voxel_ml for value, name in networks[0].names.items()
    }
    return SegmentedCase(case.name, target, volumes)


def _check_output(output: Path, names: dict[str, str], cases: Sequence[Case]) -> None:
    """Label maps of two label sets in one folder could not be told apart, and a scan must stay."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; give a folder as --output")
    file = output / LABELS_FILE
    if file.is_file() and read_json(file, UsageError) != names:
        raise UsageError(f"{file}: this folder holds label maps of other lesions; give another --output")
    scans = {path.resolve() for case in cases for path in case.inputs}
    for case in cases:
        target = output / f"{case.name}.nii.gz"
        if target.resolve() in scans:
            raise UsageError(f"{target} is a scan, which its label map would replace; give another --output")
