"""What a template file carries for the segmenter: a mask decoder adapted to the templates, as differences.

Plain arrays, so that templates know nothing of segmenters: ``medlsam.pipeline.adapt`` makes them, and
``medlsam.segment.adapted`` puts them to use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AdaptedScore:
    """Dice of one structure in templates that neither located it nor adapted the decoder.

    Attributes:
        n: templates that could be tried.
        before: mean Dice of the located masks with the segmenter as it ships.
        after: the same with the adapted decoder.
    """

    n: int
    before: float
    after: float

    @property
    def better(self) -> bool:
        """Whether adapting helped."""
        return self.n > 0 and self.after > self.before


@dataclass(frozen=True, eq=False)
class AdaptedDecoder:
    """A decoder adapted to the templates.

    Attributes:
        signature: of the weights that it was adapted from; with others it is not used.
        scores: structure to what adapting was worth. Only structures that are ``better`` use the decoder.
        differences: tensor name to float16 difference from those weights.
    """

    signature: str
    scores: Mapping[str, AdaptedScore]
    differences: Mapping[str, NDArray[np.float16]]

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures that use it."""
        return tuple(name for name, score in self.scores.items() if score.better)

    def select(self, structures: Mapping[str, Any]) -> AdaptedDecoder:
        """Keep the scores of these structures only."""
        kept = {name: score for name, score in self.scores.items() if name in structures}
        return AdaptedDecoder(self.signature, kept, self.differences)

    def about(self) -> dict[str, Any]:
        """What the file's description holds of it."""
        return {
            "signature": self.signature,
            "scores": {name: vars(score) for name, score in self.scores.items()},
            "tensors": list(self.differences),
        }
