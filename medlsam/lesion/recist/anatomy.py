"""Where a place of one scan lies in another scan of the same person, by what the localizer knows of both.

Lesions are followed by anatomy, not by coordinates: between two visits the patient lies and breathes differently. The
localizer's embeddings know the same places in both scans. Three steps, each within the reach of the one before: the
whole scans are aligned by their features (``localize.search.alignment``), the alignment is repeated around the place,
and places on a shell around it are searched for in a window; their median shift is robust against those whose
surroundings changed, the lesion's own first of all. Latent positions alone (RDR's votes) are the answer of networks
that have no features to compare whole scans by, and less precise; ``python benchmarks/lesion/follow_up.py`` prints
both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.alignment import STEP_MM, Alignment, align
from medlsam.localize.search.votes import coarse_consensus
from medlsam.localize.templates.anchors import Anchors

#: Distance of the shell's places along each axis, mm: beyond most lesions, within one organ.
SHELL_MM = 24.0
#: Half width of the window in which each of them is searched for, mm, and the search's temperature.
WINDOW_MM, TEMPERATURE = 32.0, 0.03
#: At least this share of the shell's places has to agree with their median shift to so many mm, or none counts.
AGREE_SHARE, AGREE_MM = 0.5, 8.0
#: The eight corners of a cube and the middles of its six faces.
_SHELL = SHELL_MM * np.array([*product((-1.0, 1.0), repeat=3), *np.eye(3), *-np.eye(3)], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class AnatomyMap:
    """Maps places of one scan into another of the same person.

    Attributes:
        source: the scan that places are given in.
        target: the scan that they are looked for in.
        alignment: of the two; None where the network has no features to compare whole scans by.
    """

    source: ScanEmbedding
    target: ScanEmbedding
    alignment: Alignment | None = field(repr=False)

    @torch.inference_mode()
    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N, 3) LPS mm of the source to (N, 3) LPS mm of the target, which may lie outside of what it shows."""
        places = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        if not len(places):
            return places
        if self.alignment is None:
            found, _ = coarse_consensus(self.target, self.source.latents(places))
            return np.asarray(found.double().numpy())
        fits = [self.alignment.around(place) for place in places]
        coarse = np.stack([fit.apply(place) for fit, place in zip(fits, places, strict=True)])
        shells = places[:, None] + _SHELL
        expected = np.stack([fit.apply(shell) for fit, shell in zip(fits, shells, strict=True)])
        _, features = self.source.read(shells.reshape(-1, 3))
        around = torch.as_tensor(expected.reshape(-1, 3), dtype=torch.float32)
        found = self.target.refine(features[:, None], around, WINDOW_MM, TEMPERATURE).points[:, 0]
        shift = found.double().numpy().reshape(expected.shape) - expected
        # What a scan does not show cannot be found there, nor can it be read in the other.
        seen = _inside(shells, self.source) & _inside(expected, self.target)
        shift = np.where(seen[..., None], shift, np.nan)
        enough = seen.sum(axis=1) >= len(_SHELL) // 2
        moved = np.zeros_like(coarse)
        moved[enough] = np.nanmedian(shift[enough], axis=1)
        # Near the skin half of the shell lies in air, which looks alike everywhere: then there is no common shift.
        apart = np.linalg.norm(shift - moved[:, None], axis=-1)
        agree = (apart <= AGREE_MM).sum(axis=1) >= AGREE_SHARE * seen.sum(axis=1)
        return np.asarray(coarse + moved * agree[:, None])

    def shows(self, points: ArrayLike, margin_mm: float = 0.0) -> NDArray[np.bool_]:
        """(N,) whether the target scan shows places (N, 3) LPS mm of its own, at least so far from its border."""
        return _inside(np.asarray(points, dtype=np.float64).reshape(-1, 3), self.target, margin_mm)


@torch.inference_mode()
def map_anatomy(source: ScanEmbedding, target: ScanEmbedding) -> AnatomyMap:
    """Prepare to map places of one scan into another of the same person.

    Args:
        source: embedded by a localizer.
        target: embedded by the same localizer.
    """
    lattice, other = source.body_lattice(STEP_MM), target.body_lattice(STEP_MM)
    if lattice is None or other is None:
        return AnatomyMap(source, target, None)
    anchors = Anchors(*(part.float().numpy() for part in lattice))
    return AnatomyMap(source, target, align(anchors, other))


def _inside(
    points: NDArray[np.float64], embedding: ScanEmbedding, margin_mm: float = 0.0
) -> NDArray[np.bool_]:
    low, high = embedding.view
    return np.asarray(((points >= low + margin_mm) & (points <= high - margin_mm)).all(axis=-1))
