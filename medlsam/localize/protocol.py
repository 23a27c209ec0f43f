"""What a search needs of a scan that a network has looked at: the same for dense and for patch networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """Answers of a refinement.

    Attributes:
        points: (N, S, 3) LPS mm.
        similarity: (N, S) highest mean cosine of the three scales in the window.
        spread_mm: (N, S) mean distance of the similarity's peak from the answer, weighted as the answer is.
    """

    points: Tensor
    similarity: Tensor
    spread_mm: Tensor


class ScanEmbedding(Protocol):
    """A scan as a localizer sees it. All places are LPS mm."""

    @property
    def view(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The box of the scan, LPS mm: (3,) low and (3,) high."""

    @property
    def range_mm(self) -> Tensor:
        """(3,) r of the paper's equation 2, (x, y, z)."""

    @property
    def landmarks(self) -> slice:
        """Which places of a structure are worth looking up (see ``landmarks``): each costs a patch network a pass."""

    @property
    def independent(self) -> bool:
        """Whether the answer for one place is the same whichever others are asked for in the same call."""

    def starts(self) -> tuple[Tensor, Tensor]:
        """Places (M, 3) in the body and latent positions (M, 3) there: where a coarse search may start."""

    @property
    def start_weights(self) -> Tensor | None:
        """(M,) how much each start may say, where the network tells; None: all the same."""

    def latents(self, points: ArrayLike | Tensor) -> Tensor:
        """Latent positions (N, 3) at (N, 3) places: ``read`` without the features."""

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Latent positions (N, 3) and stacked unit features (N, F) at (N, 3) places."""

    def read_lattice(self, axes: Sequence[NDArray[np.float64]]) -> Tensor:
        """Features as ``read`` gives them at all places of a lattice (x, y, z), z fastest: (X * Y * Z, F)."""

    def project_lattice(self, axes: Sequence[NDArray[np.float64]], direction: Tensor) -> Tensor:
        """(X * Y * Z,) products of what ``read_lattice`` gives with a direction (F,)."""

    def intensities(self, points: ArrayLike | Tensor) -> NDArray[np.float32] | None:
        """(N,) normalised HU at (N, 3) places; None where they are not kept."""

    def refine(self, features: Tensor, around: Tensor, window_mm: float, temperature: float) -> Matches:
        """Soft arg-max of the similarity of features (N, S, F) in windows around (N, 3) places."""
