"""How scans are prepared for the network: spacing and range of HU, read off the training scans as nnU-Net does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import DatasetError, GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.io.labelled_scans import TemplateCase
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.volume.canonical import lps_grid, to_canonical
from medlsam.volume.resample import resample
from medlsam.volume.volume import Image, LabelMap

#: Voxels of lesions of a scan that the range of HU is read off.
_SAMPLED = 10_000


@dataclass(frozen=True)
class ScanPlan:
    """What has to be done with a scan before the network sees it; travels with the weights.

    Attributes:
        spacing_xyz: of the network's voxels along x, y, z of LPS, mm.
        hu_range: HU below and above are cut off.
        mean: HU that becomes 0.
        std: HU that become 1.
        patch_zyx: voxels that the network sees at once.
        names: (value, name) of each class of lesion in the order of the network's classes, which count from 1; class 0
            is everything else.
    """

    spacing_xyz: tuple[float, float, float]
    hu_range: tuple[float, float]
    mean: float
    std: float
    patch_zyx: tuple[int, int, int]
    names: tuple[tuple[int, str], ...]

    @property
    def classes(self) -> int:
        """Count the classes, with the background."""
        return len(self.names) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanPlan:
        """Read what ``to_dict`` returned."""
        x, y, z = (float(v) for v in data["spacing_xyz"])
        low, high = (float(v) for v in data["hu_range"])
        pz, py, px = (int(v) for v in data["patch_zyx"])
        names = tuple((int(value), str(name)) for value, name in data["names"])
        return cls((x, y, z), (low, high), float(data["mean"]), float(data["std"]), (pz, py, px), names)

    def grid(self, canonical: Grid) -> Grid:
        """The grid of the network's voxels over a canonical scan."""
        return lps_grid(canonical, self.spacing_xyz)

    def resampled(self, image: Image) -> Image:
        """Bring a scan of any geometry to the network's voxels: HU, float32."""
        canonical = to_canonical(image)
        return resample(canonical, self.grid(canonical.grid))

    def standardised(self, hu: NDArray[Any] | float) -> NDArray[np.float32]:
        """Cut HU off and scale them, as the network sees them."""
        clipped = np.clip(np.asarray(hu, np.float32), *self.hu_range)
        standard: NDArray[np.float32] = (clipped - np.float32(self.mean)) / np.float32(self.std)
        return standard


def plan_dataset(
    cases: Sequence[TemplateCase],
    names: Mapping[int, str],
    patch_zyx: tuple[int, int, int],
    spacing_xyz: tuple[float, float, float] | None = None,
) -> ScanPlan:
    """Plan from labelled scans.

    Spacing is the median of the scans'. HU go from the 0.5 to the 99.5 percentile of what is labelled; their mean and
    standard deviation standardise: nnU-Net's rules for CT.

    Args:
        cases: with label maps.
        names: value to lesion, of all cases.
        patch_zyx: voxels of a patch.
        spacing_xyz: mm, in place of the median.

    Raises:
        UsageError: no cases, or sizes that are not positive.
        DatasetError: nothing is labelled in any of them.
        VolumeError: a scan or label map cannot be read.
        GeometryError: a label map does not lie on its scan's grid.
    """
    if not cases:
        raise UsageError("there are no scans to plan from")
    if min(patch_zyx) < 1 or (spacing_xyz is not None and min(spacing_xyz) <= 0):
        raise UsageError(f"patch {patch_zyx} and spacing {spacing_xyz} must be positive")
    spacings, values = [], []
    rng = np.random.default_rng(0)
    for case in cases:
        image, labels = read_labelled(case, names)
        spacings.append(to_canonical(labels).grid.spacing_xyz)
        inside = image.array[labels.array > 0]
        if len(inside) > _SAMPLED:
            inside = rng.choice(inside, _SAMPLED, replace=False)
        values.append(inside.astype(np.float32))
    hu = np.concatenate(values)
    if not hu.size:
        raise DatasetError(
            f"{cases[0].image}: no voxel of this dataset is labelled; there is nothing to learn"
        )
    low, high = (float(v) for v in np.percentile(hu, (0.5, 99.5)))
    if high - low < 1:
        low, high = low - 1, high + 1
    x, y, z = (float(v) for v in (spacing_xyz or np.median(np.asarray(spacings), axis=0)))
    std = max(float(hu.std()), 1.0)
    return ScanPlan((x, y, z), (low, high), float(hu.mean()), std, patch_zyx, tuple(sorted(names.items())))


def read_labelled(case: TemplateCase, names: Mapping[int, str]) -> tuple[Image, LabelMap]:
    """Read a scan and its label map, which may be empty: a scan without a lesion is worth learning from.

    Args:
        case: of an nnU-Net dataset.
        names: value to lesion.

    Raises:
        VolumeError: one of them cannot be read.
        DatasetError: a value has no name, or there is no label map.
        GeometryError: the label map does not lie on its scan's grid.
    """
    if case.labels is None:
        raise DatasetError(
            f"{case.image}: there is no label map of this scan; add one, or take the scan away"
        )
    image, labels = read_image(case.image), read_label_map(case.labels)
    unknown = sorted({int(value) for value in np.unique(labels.array)} - set(names) - {0})
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in sorted(names.items()))
        raise DatasetError(
            f"{case.labels}: value {unknown[0]} has no name in dataset.json (known: {known}); add it there"
        )
    if not labels.grid.matches(image.grid):
        raise GeometryError(
            f"{case.labels}: the label map lies on another grid than its scan {case.image} "
            f"({labels.grid.shape_zyx} and {image.grid.shape_zyx} voxels, or elsewhere); export it again on the scan"
        )
    return image, labels
