"""An encoder without weights whose answer at every place is known: it hands on the HU that it is given.

In a scan whose HU are a plane ramp of the place, what is read off at a place must be the ramp's value there: an
error of one millimetre anywhere between the file and the answer is an error of some HU.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from medlsam.geometry import Grid
from medlsam.localize.network.encoder import Encoder, EncoderConfig
from medlsam.volume import Image

#: HU per mm along x, y and z (LPS); HU stay within -200 to 200, where the encoder's input is linear in them.
SLOPE = np.array([0.8, -0.5, 0.7])


class RampEncoder(Encoder):
    """Latent positions are the input's mean over a cell; features are angles in proportion to it."""

    def __init__(self) -> None:
        super().__init__(EncoderConfig(channels=(1, 1, 1, 1), blocks=(1, 1, 1, 1), feature_dim=2))
        self.eval()

    def enter(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(x, 2)

    def middle(self, fine: Tensor) -> dict[int, Tensor]:
        return {4: F.avg_pool3d(fine, 2), 8: F.avg_pool3d(fine, 4)}

    def leave(self, four: Tensor, fine: Tensor, x: Tensor) -> dict[int, Tensor]:
        return {2: fine}

    def features(self, levels: Mapping[int, Tensor]) -> dict[int, Tensor]:
        return {stride: torch.cat([level.cos(), level.sin()], dim=1) for stride, level in levels.items()}

    def votes(self, levels: Mapping[int, Tensor]) -> tuple[Tensor, Tensor | None]:
        return levels[8].expand(-1, 3, -1, -1, -1), None


def ramp(points: np.ndarray, centre: np.ndarray, slope: np.ndarray = SLOPE) -> np.ndarray:
    """HU of the ramp at (..., 3) LPS mm."""
    return (points - centre) @ slope


def ramp_scan(grid: Grid, slope: np.ndarray = SLOPE) -> Image:
    """A scan whose HU are the ramp about the grid's centre."""
    kji = np.indices(grid.shape_zyx).reshape(3, -1).T
    hu = ramp(grid.ijk_to_lps(kji[:, ::-1]), np.asarray(grid.box.center), slope)
    return Image(hu.reshape(grid.shape_zyx).astype(np.float32), grid)


def hu_of(normalised: Tensor) -> np.ndarray:
    """HU of the encoder's input between -200 and 200: the inverse of ``normalise_hu`` there."""
    return ((normalised - 0.2) / 0.6 * 400 - 200).numpy()
