"""NiiVue in a notebook: three planes and the body in the browser, the label map over the scan.

What is sent lies in RAS order with a RAS affine, as nibabel's closest canonical form has it, so that the viewer has no
axis to turn.
"""

from __future__ import annotations

import gzip
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from medlsam.export.anatomy import colour_of
from medlsam.export.notebook.panel import Panel, installed
from medlsam.export.notebook.shown import Shown
from medlsam.export.planes import BOX
from medlsam.geometry import Grid, Vector

HEIGHT = 480
#: Masks let the scan through.
OPACITY = 0.5


def ipyniivue() -> ModuleType | None:
    """The library, or None where it is not installed (the extra ``niivue``)."""
    return installed("ipyniivue")


class NiiVuePanel(Panel):
    """NiiVue with the scan as background and the structures as labels; the right mouse button sets a window, too."""

    def __init__(self, library: ModuleType, widgets: ModuleType, shown: Shown, window: str) -> None:
        super().__init__(widgets, shown, window)
        self._library = library
        self._scan = library.Volume(
            data=nifti(_hu(shown.image.array), shown.image.grid),
            name="scan.nii.gz",
            colormap="gray",
            colorbar_visible=False,
            cal_min=self._hu.low,
            cal_max=self._hu.high,
        )
        self._labels = self._overlay()
        self.viewer = library.NiiVue(
            height=HEIGHT,
            # The patient's right on the left, and the front on the left in sagittal planes, as in our pictures.
            is_radiological_convention=True,
            sagittal_nose_left=True,
            # A voxel's width, which is the default, hides what lies below.
            crosshair_width=1.0,
            crosshair_width_unit="mm",
            crosshair_color=(*to_rgb(BOX), 0.7),
        )
        self.viewer.scene.crosshair_pos = self._start()
        self.viewer.load_volumes([self._scan, self._labels])
        self._place = widgets.Label("click into a plane")
        self.viewer.on_location_change(self._tell)
        self.widget.children = (self._table, widgets.HBox([self._windows, self._place]), self.viewer)

    def _start(self) -> list[float]:
        """Where the planes cross at first, in fractions of the scan along RAS: in the slice with most labels."""
        index = self.shown.fullest_slice
        rows, columns = np.nonzero(self.shown.labels[index])
        z, y, x = self.shown.image.grid.shape_zyx
        middle = (columns.mean(), rows.mean()) if rows.size else ((x - 1) / 2, (y - 1) / 2)
        return [1 - (float(middle[0]) + 0.5) / x, 1 - (float(middle[1]) + 0.5) / y, (index + 0.5) / z]

    def _tell(self, location: dict[str, Any]) -> None:
        """Say where the planes cross now, as ``Session.click`` takes it, and what is there."""
        right, front, up = location["mm"][:3]
        self._place.value = place(self.shown, (-right, -front, up))

    def _overlay(self) -> Any:
        return self._library.Volume(
            data=nifti(self.shown.labels, self.shown.image.grid),
            name="structures.nii.gz",
            colorbar_visible=False,
            opacity=OPACITY,
            colormap_label=self._colours(),
        )

    def _colours(self) -> Any:
        """Colour and name of each number, and none for the background."""
        entries = [(0, 0, 0, 0), *((*colour_of(name), 255) for name in self.shown.structures)]
        return self._library.LUT(
            lut=[value for entry in entries for value in entry],
            min=0,
            max=len(entries) - 1,
            labels=["", *self.shown.structures],
        )

    def _redraw(self) -> None:
        voxels = np.ravel(_ras(self.shown.labels), order="F")
        held = self._labels.img
        if held is not None and held.dtype == voxels.dtype and held.shape == voxels.shape:
            # The browser has told what it holds; only what differs is sent.
            self._labels.colormap_label = self._colours()
            self._labels.img = voxels
            return
        # Not displayed yet, or still being loaded: begin anew.
        before, self._labels = self._labels, self._overlay()
        self.viewer.load_volumes([self._scan, self._labels])
        before.close()

    def _rewindow(self) -> None:
        self._scan.cal_min, self._scan.cal_max = self._hu.low, self._hu.high


def place(shown: Shown, point: Vector) -> str:
    """Say what lies at a point.

    Args:
        shown: a scan and its structures.
        point: LPS mm.
    """
    words = "x {:.1f}, y {:.1f}, z {:.1f} mm (LPS)".format(*point)
    x, y, z = (int(n) for n in np.rint(shown.image.grid.lps_to_ijk(point)))
    if not all(0 <= n < size for n, size in zip((z, y, x), shown.labels.shape, strict=True)):
        return words
    number = int(shown.labels[z, y, x])
    name = f", {shown.structures[number - 1]}" if number else ""
    return f"{words}: {shown.image.array[z, y, x]:.0f} HU{name}"


def nifti(array_zyx: NDArray[Any], grid: Grid) -> bytes:
    """A volume as the bytes of a ``.nii.gz`` file in RAS order.

    Args:
        array_zyx: (Z, Y, X).
        grid: canonical: its axes run along LPS.
    """
    (_, y, x), (sx, sy, sz) = grid.shape_zyx, grid.spacing_xyz
    affine = np.diag([sx, sy, sz, 1.0])
    # RAS runs the other way along x and y: the first voxel is the one that was last.
    last = np.asarray(grid.origin_xyz) + np.multiply((x - 1, y - 1, 0), grid.spacing_xyz)
    affine[:3, 3] = last * (-1, -1, 1)
    image = nibabel.Nifti1Image(_ras(array_zyx), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    return gzip.compress(image.to_bytes(), compresslevel=1)


def _ras(array_zyx: NDArray[Any]) -> NDArray[Any]:
    """(X, Y, Z) along +R, +A, +S of a canonical array; a view."""
    return array_zyx.transpose(2, 1, 0)[::-1, ::-1]


def _hu(array: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in two bytes, where they fit; else float32."""
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
            return array.astype(np.int16, copy=False)
    return array.astype(np.float32, copy=False)
