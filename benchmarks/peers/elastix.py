"""One atlas on one scan with elastix: affine from several heights, then B-spline, then its labels on the scan's grid.

itk-elastix is no dependency of the project: it is imported here, and only when something is registered.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.localize.build_templates import Template
from medlsam.volume import Image, lps_grid, resample
from medlsam.volume.hounsfield import BODY_HU

#: HU that are mapped piecewise linearly to grey levels: soft tissue gets most of the histogram's bins.
HU_KNOTS, GREY_KNOTS = (-1000.0, -200.0, 200.0, 1500.0), (0.0, 20.0, 80.0, 100.0)


@dataclass(frozen=True)
class Settings:
    """How an atlas is registered; chosen on two `pretrain` cases, see ``registration.py``.

    Attributes:
        spacing_mm: of the scan while it is registered.
        step_mm: between the heights that the affine registration starts from.
        affine_iterations: of each of its two resolutions.
        grid_mm: of the B-spline's final grid of control points.
        iterations: of each of the B-spline's resolutions.
        resolutions: of the B-spline.
        samples: voxels that an iteration looks at.
        seed: of these.
    """

    spacing_mm: float = 3.0
    step_mm: float = 60.0
    affine_iterations: int = 150
    grid_mm: float = 20.0
    iterations: int = 300
    resolutions: int = 3
    samples: int = 3000
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Warped:
    """An atlas in a scan's place, both (Z, Y, X) on the scan's grid.

    Attributes:
        labels: its label values; 0 where the atlas was not scanned.
        image: its HU; air where it was not scanned.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.int16]


def load_itk() -> Any:
    """Import itk with elastix, set to one thread.

    Raises:
        UsageError: it is not installed.
    """
    try:
        itk = importlib.import_module("itk")
        found = hasattr(itk, "ElastixRegistrationMethod")
    except ImportError:
        found = False
    if not found:
        raise UsageError(
            "registration needs itk-elastix, which medlsam does not depend on: `pip install itk-elastix` into an "
            "environment of its own, or `pip install --target DIR itk-elastix` and PYTHONPATH=DIR"
        )
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(1)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    return itk


def heights(scan: Grid, atlas: Grid, step_mm: float) -> list[float]:
    """How far to move the middle of an atlas from the middle of a scan along z, mm: the registration's starts.

    From about where the lower ends meet to where the upper ends meet, and a step beyond either.
    """
    longer = abs(scan.box.size[2] - atlas.box.size[2]) / 2
    half = round(longer / step_mm) + 1
    return [step_mm * number for number in range(-half, half + 1)]


def mutual_information(first: NDArray[Any], second: NDArray[Any], bins: int = 32) -> float:
    """Mutual information of two sets of grey levels (nats), of the same shape, from their joint histogram."""
    counts, _, _ = np.histogram2d(first.ravel(), second.ravel(), bins=bins, range=[[0, 100], [0, 100]])
    joint = counts / counts.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def grey_levels(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Grey levels 0 to 100 of HU, any shape."""
    return np.asarray(np.interp(hu, HU_KNOTS, GREY_KNOTS), np.float32)


class Registration:
    """Registers atlases to one scan.

    Args:
        image: the scan, HU.
        settings: how.

    Raises:
        UsageError: itk-elastix is not installed.
    """

    def __init__(self, image: Image, settings: Settings) -> None:
        self._itk, self._settings, self._grid = load_itk(), settings, image.grid
        working = resample(image, lps_grid(image.grid, (settings.spacing_mm,) * 3))
        body = binary_dilation(working.array > BODY_HU, iterations=2)
        self._scan, self._body = grey_levels(working.array), body
        self._fixed = self._to_itk(self._scan, working.grid)
        self._mask = self._to_itk(body.astype(np.uint8), working.grid)
        self._working = working.grid

    def warp(self, atlas: Template) -> Warped:
        """Bring an atlas into the scan's place.

        Args:
            atlas: with a label map.
        """
        assert atlas.labels is not None, "an atlas has labels"
        grid = atlas.image.grid
        middle = np.subtract(self._working.box.center, grid.box.center)
        grey = grey_levels(atlas.image.array)
        best, chosen, place = -1.0, None, grid
        for height in heights(self._working, grid, self._settings.step_mm):
            moved = _moved(grid, middle + np.array([0.0, 0.0, height]))
            moving = self._to_itk(grey, moved)
            found = self._elastix(moving, self._affine(), None)
            warped = self._transformed(moving, found, self._working, nearest=False)
            value = mutual_information(self._scan[self._body], warped[self._body])
            if value > best:
                best, chosen, place = value, found, moved
        final = self._elastix(self._to_itk(grey, place), self._bspline(), chosen)
        labels = self._to_itk(atlas.labels.array.astype(np.float32), place)
        # Above air by 1024, so that what lies outside of the atlas, which is 0, is air.
        image = self._to_itk(atlas.image.array.astype(np.float32) + 1024, place)
        warped = self._transformed(image, final, self._grid, nearest=False) - 1024
        return Warped(
            np.rint(self._transformed(labels, final, self._grid, nearest=True)).astype(np.uint8),
            np.rint(warped).astype(np.int16),
        )

    def _to_itk(self, array: NDArray[Any], grid: Grid) -> Any:
        image = self._itk.image_from_array(np.ascontiguousarray(array))
        image.SetSpacing(grid.spacing_xyz)
        image.SetOrigin(grid.origin_xyz)
        image.SetDirection(self._itk.matrix_from_array(np.reshape(grid.direction, (3, 3))))
        return image

    def _elastix(self, moving: Any, parameters: Mapping[str, Any], start: Any) -> Any:
        """The transform parameters of one registration; ``start`` holds those of the one before, or is None."""
        maps = self._itk.ParameterObject.New()
        maps.AddParameterMap({key: _words(value) for key, value in parameters.items()})
        method = self._itk.ElastixRegistrationMethod.New(self._fixed, moving)
        method.SetFixedMask(self._mask)
        method.SetParameterObject(maps)
        method.SetNumberOfThreads(1)
        method.LogToConsoleOff()
        if start is not None:
            method.SetInitialTransformParameterObject(start)
        method.UpdateLargestPossibleRegion()
        # Of all steps so far: elastix puts the maps of `start` before its own.
        return method.GetTransformParameterObject()

    def _transformed(self, moving: Any, transform: Any, grid: Grid, nearest: bool) -> NDArray[Any]:
        """(Z, Y, X): an image in the place that a registration found for it, on a grid."""
        maps = self._itk.ParameterObject.New()
        z, y, x = grid.shape_zyx
        for number in range(transform.GetNumberOfParameterMaps()):
            own = dict(transform.GetParameterMap(number))
            own.update(
                Size=_words((x, y, z)), Index=_words((0, 0, 0)), Spacing=_words(grid.spacing_xyz),
                Origin=_words(grid.origin_xyz), Direction=_words(np.reshape(grid.direction, (3, 3)).T.ravel()),
                ResampleInterpolator=(
                    "FinalNearestNeighborInterpolator" if nearest else "FinalLinearInterpolator",
                ),
                ResultImagePixelType=("float",), DefaultPixelValue=("0",),
            )  # fmt: skip
            maps.AddParameterMap(own)
        method = self._itk.TransformixFilter.New(moving)
        method.SetTransformParameterObject(maps)
        method.LogToConsoleOff()
        method.UpdateLargestPossibleRegion()
        return np.asarray(self._itk.array_from_image(method.GetOutput()))

    def _shared(self) -> dict[str, Any]:
        return {
            "FixedInternalImagePixelType": "float", "MovingInternalImagePixelType": "float",
            "FixedImagePyramid": "FixedSmoothingImagePyramid", "MovingImagePyramid": "MovingSmoothingImagePyramid",
            "Metric": "AdvancedMattesMutualInformation", "NumberOfHistogramBins": 32,
            "Interpolator": "LinearInterpolator", "ResampleInterpolator": "FinalLinearInterpolator",
            "Resampler": "DefaultResampler", "ImageSampler": "RandomCoordinate", "NewSamplesEveryIteration": True,
            "NumberOfSpatialSamples": self._settings.samples, "RandomSeed": self._settings.seed,
            "CheckNumberOfSamples": True, "MaximumNumberOfSamplingAttempts": 8, "RequiredRatioOfValidSamples": 0.05,
            "Optimizer": "AdaptiveStochasticGradientDescent", "AutomaticParameterEstimation": True,
            "ErodeMask": False, "WriteResultImage": False, "HowToCombineTransforms": "Compose",
            "DefaultPixelValue": 0,
        }  # fmt: skip

    def _affine(self) -> dict[str, Any]:
        return self._shared() | {
            "Registration": "MultiResolutionRegistration", "Transform": "AffineTransform",
            "AutomaticScalesEstimation": True, "AutomaticTransformInitialization": False,
            "NumberOfResolutions": 2, "ImagePyramidSchedule": (4, 4, 4, 2, 2, 2),
            "MaximumNumberOfIterations": self._settings.affine_iterations,
        }  # fmt: skip

    def _bspline(self) -> dict[str, Any]:
        count = self._settings.resolutions
        factors = [2 ** (count - 1 - level) for level in range(count)]
        return self._shared() | {
            "Registration": "MultiResolutionRegistration", "Transform": "RecursiveBSplineTransform",
            "FinalGridSpacingInPhysicalUnits": self._settings.grid_mm, "GridSpacingSchedule": factors,
            "NumberOfResolutions": count, "ImagePyramidSchedule": np.repeat(factors, 3),
            "MaximumNumberOfIterations": self._settings.iterations,
        }  # fmt: skip


def _moved(grid: Grid, by_mm: Any) -> Grid:
    x, y, z = (float(v) for v in np.add(grid.origin_xyz, by_mm))
    return Grid(grid.shape_zyx, grid.spacing_xyz, (x, y, z), grid.direction)


def _words(value: Any) -> tuple[str, ...]:
    """A setting as elastix writes it: words."""
    if isinstance(value, bool):
        return (str(value).lower(),)
    return (value,) if isinstance(value, str) else tuple(str(v) for v in np.ravel(value).tolist())
