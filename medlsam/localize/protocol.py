"""The protocol between a network and the search: how a search reads an embedded scan, whatever embedded it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """Result of a refinement: the best match of each feature in its window.

    Attributes:
        points: (N, S, 3) LPS mm.
        similarity: (N, S) highest mean cosine of the three scales in the window.
        spread_mm: (N, S) mean distance of the window's cells from the match, weighted as in the soft arg-max.
    """

    points: Tensor
    similarity: Tensor
    spread_mm: Tensor


class ScanEmbedding(Protocol):
    """A scan embedded by a network. All places are LPS mm.

    Latent positions (RDR) give offsets between places: d = r * tanh(p_s - p_q), equation 2 of the paper. Features (MSS)
    are unit vectors of three scales, stacked; the sum of their products is three times the mean cosine.
    """

    @property
    def view(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The box of the scan, LPS mm: (3,) low and (3,) high."""

    @property
    def range_mm(self) -> Tensor:
        """(3,) r of the paper's equation 2, (x, y, z)."""

    @property
    def landmarks(self) -> slice:
        """Which landmarks (see ``landmarks``) are worth reading: each costs a patch network a pass."""

    @property
    def independent(self) -> bool:
        """Whether the result for one place is the same whichever others are in the same call."""

    def starts(self) -> tuple[Tensor, Tensor]:
        """Places (M, 3) in the body and their latent positions (M, 3): the starts of a coarse search."""

    @property
    def start_weights(self) -> Tensor | None:
        """(M,) weight of each start's vote, where the network predicts it; None for equal weights."""

    def latents(self, points: ArrayLike | Tensor) -> Tensor:
        """Latent positions (N, 3) at (N, 3) places: ``read`` without the features."""

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Latent positions (N, 3) and stacked unit features (N, F) at (N, 3) places."""

    def read_lattice(self, axes: Sequence[NDArray[np.float64]]) -> Tensor:
        """Features as ``read`` gives them at all places of a lattice (x, y, z), z fastest: (X * Y * Z, F)."""

    def project_lattice(self, axes: Sequence[NDArray[np.float64]], direction: Tensor) -> Tensor:
        """(X * Y * Z,) products of the features of ``read_lattice`` with a direction (F,)."""

    def body_lattice(self, step_mm: float) -> tuple[Tensor, Tensor] | None:
        """Places (N, 3) of a lattice in the scan's body, and features (N, 2 * C) of the two coarser scales there.

        By them whole scans are compared. None where every place would cost a pass of the network.
        """

    def intensities(self, points: ArrayLike | Tensor) -> NDArray[np.float32] | None:
        """(N,) normalised HU at (N, 3) places; None where they are not kept."""

    def refine(self, features: Tensor, around: Tensor, window_mm: float, temperature: float) -> Matches:
        """Soft arg-max of the similarity of features (N, S, F) in windows around (N, 3) places."""
