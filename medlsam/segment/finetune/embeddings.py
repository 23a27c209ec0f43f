"""Embeddings of labelled scans on disk: computed once, read row by row in every fold and every epoch.

One safetensors file a scan. Its name is a hash of everything that it depends on (the segmenter's file, scan, labels,
options), so a kept folder serves later cycles too, and a corrected mask is embedded anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from medlsam.errors import TemplateError, WeightsError
from medlsam.runtime.atomic_files import atomic_path
from medlsam.segment.finetune.components import Component, components
from medlsam.segment.finetune.labelled import LabelledCase, LabelledScan
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.protocol import Drawn, Embedded, Tuner

#: Changes when the content of the files changes.
_LAYOUT = 1


class StoredScan:
    """A scan's tensors on disk, mapped into memory and read row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = safe_open(path, framework="pt")

    def row(self, name: str, index: int) -> Tensor:
        """Read one row of a tensor along its first axis."""
        found: Tensor = self._file.get_slice(name)[index : index + 1]
        return found[0]


@dataclass(frozen=True, eq=False)
class EmbeddedScan:
    """One scan, ready for training.

    Attributes:
        name: of the scan.
        patient: the scan's.
        parts: its 2D components, in the order of the stored rows.
        stored: embeddings, boxes, targets.
    """

    name: str
    patient: str
    parts: tuple[Component, ...]
    stored: StoredScan

    def by_slice(self) -> list[list[int]]:
        """Group the indices of the components by slice."""
        grouped: dict[int, list[int]] = {}
        for index, part in enumerate(self.parts):
            grouped.setdefault(part.z, []).append(index)
        return list(grouped.values())


def embed_cases(
    tuner: Tuner,
    signature: str,
    cases: Sequence[LabelledCase],
    folder: Path,
    options: FinetuneOptions,
    say: Callable[[str], None],
) -> list[EmbeddedScan]:
    """Embed labelled scans, one in memory at a time; embeddings in the folder are not computed again.

    Args:
        tuner: the segmenter.
        signature: sha256 of its file.
        cases: to read.
        folder: of the cache.
        options: slices, views and jitter.
        say: gets a line for each scan.

    Raises:
        TemplateError: a scan has no component of ``MIN_PIXELS`` pixels.
        WeightsError: an embedding does not fit half precision.
    """
    found = []
    for case in cases:
        say(f"embedding {case.name}")
        scan = case.read()
        parts = tuple(components(scan, options.slices))
        if not parts:
            raise TemplateError(
                f"{case.case.labels}: no part of {', '.join(case.names.values()) or 'the chosen structures'} is "
                "large enough in any slice; leave the scan out"
            )
        file = folder / f"{_key(tuner, signature, scan, options)}.safetensors"
        if not _readable(file):
            rng = np.random.default_rng([options.seed, *case.name.encode()])
            _write(file, tuner.embed(scan, parts, options.views, options.jitter, rng), case.name)
        found.append(EmbeddedScan(case.name, case.patient, parts, StoredScan(file)))
    return found


def _key(tuner: Tuner, signature: str, scan: LabelledScan, options: FinetuneOptions) -> str:
    what = hashlib.sha256()
    of_embedding = (options.views, options.jitter, options.slices, options.seed)
    grid = scan.image.grid
    for value in (_LAYOUT, tuner.spec, signature, scan.name, grid, sorted(scan.names.items()), of_embedding):
        what.update(repr(value).encode())
    for array in (scan.image.array, scan.labels.array):
        what.update(str(array.dtype).encode())
        what.update(np.ascontiguousarray(array).data)
    return what.hexdigest()[:40]


def _readable(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        StoredScan(file)
    except (SafetensorError, OSError):  # cut off by a full disk
        return False
    return True


def _write(file: Path, tensors: Embedded, name: str) -> None:
    for key, tensor in tensors.items():
        if tensor.dtype == torch.float16 and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name}: {key} of this segmenter does not fit half precision")
    with atomic_path(file) as temporary:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)


class SlicesToTrain(Dataset[Drawn]):
    """One item a slice: a component of it at random, with a jittered box (HCUCH paper, Training)."""

    def __init__(self, tuner: Tuner, scans: Iterable[EmbeddedScan], options: FinetuneOptions) -> None:
        self.tuner, self.options = tuner, options
        self.rng = np.random.default_rng([options.seed, 1])
        self.slices = [(scan, own) for scan in scans for own in scan.by_slice()]

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Drawn:
        scan, own = self.slices[index]
        part = own[int(self.rng.integers(len(own)))]
        return self.tuner.draw(scan.stored, part, self.options.jitter, self.rng)


class ComponentsToScore(Dataset[Drawn]):
    """Every component with its exact box; ``owner`` is the index of its patient in ``patients``."""

    def __init__(self, tuner: Tuner, scans: Sequence[EmbeddedScan]) -> None:
        self.tuner = tuner
        self.patients = sorted({scan.patient for scan in scans})
        self.items = [(scan, part) for scan in scans for part in range(len(scan.parts))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Drawn:
        scan, part = self.items[index]
        drawn = self.tuner.draw(scan.stored, part, 0.0, None)
        return {**drawn, "owner": torch.tensor(self.patients.index(scan.patient))}
