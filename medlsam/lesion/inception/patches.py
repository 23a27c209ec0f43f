"""Patches of prepared scans: somewhere, or around a voxel of a lesion, as nnU-Net oversamples the foreground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medlsam.lesion.inception.augment import augment
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.lesion.inception.prepare import PreparedCase
from medlsam.volume.hounsfield import LOWEST_HU


class Patch(TypedDict):
    """One patch: ``image`` (1, Z, Y, X) float32, standardised; ``labels`` (Z, Y, X) int64 classes."""

    image: Tensor
    labels: Tensor


def cut(
    case: PreparedCase, start_zyx: NDArray[np.int64], size_zyx: tuple[int, int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Cut a box of voxels out of a case; air and no lesion where it reaches beyond the scan.

    Args:
        case: the scan.
        start_zyx: first voxel; may be negative.
        size_zyx: of the box.
    """
    image, labels = case.image(), case.labels()
    hu, classes = np.full(size_zyx, LOWEST_HU, np.int16), np.zeros(size_zyx, np.uint8)
    first = np.maximum(start_zyx, 0)
    last = np.minimum(start_zyx + np.asarray(size_zyx), image.shape)
    if (last > first).all():
        inside = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        target = tuple(slice(a, b) for a, b in zip(first - start_zyx, last - start_zyx, strict=True))
        hu[target], classes[target] = image[inside], labels[inside]
    return hu, classes


class Patches(Dataset[Patch]):
    """Patches by number: the same number is the same patch, whichever process draws it.

    Args:
        cases: where they come from, each as often as the others.
        plan: size and standardisation.
        seed: of the draws.
        foreground: share of patches whose middle is a voxel of a lesion, each class of the scan as often as the others.
        changed: whether patches are augmented.
        length: as ``len`` says; numbers beyond it work as well.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        plan: ScanPlan,
        seed: int = 0,
        foreground: float = 0.33,
        changed: bool = True,
        length: int = 1,
    ) -> None:
        self.cases, self.plan, self.seed = list(cases), plan, seed
        self.foreground, self.changed, self.length = foreground, changed, length
        self._places = [case.places() for case in self.cases]
        self._labelled = [number for number, places in enumerate(self._places) if places]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Patch:
        rng = np.random.default_rng((self.seed, index))
        size = self.plan.patch_zyx
        around = bool(self._labelled) and rng.random() < self.foreground
        # A scan without a lesion cannot give a patch around one.
        number = int(rng.choice(self._labelled if around else len(self.cases)))
        if around:
            places = self._places[number]
            chosen = places[int(rng.choice(list(places)))]
            middle = chosen[rng.integers(len(chosen))].astype(np.int64)
            start = middle - np.asarray(size) // 2
        else:
            shape = np.asarray(self.cases[number].image().shape)
            room = shape - np.asarray(size)
            low, high = np.minimum(room // 2, 0), np.maximum(room, room // 2)
            start = rng.integers(low, np.maximum(high, low) + 1)
        hu, labels = cut(self.cases[number], start, size)
        image = self.plan.standardised(hu)
        if self.changed:
            image, labels = augment(image, labels, rng)
        return {"image": torch.from_numpy(image)[None], "labels": torch.from_numpy(labels.astype(np.int64))}


class Onwards(Sampler[int]):
    """Numbers that go on from the step that was reached, so that no two passes draw the same patches.

    Args:
        first: gives the first number when a pass begins: a training that goes on after a kill knows its step only then.
        count: of one pass.
    """

    def __init__(self, first: Callable[[], int], count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        first = self.first()
        return iter(range(first, first + self.count))
