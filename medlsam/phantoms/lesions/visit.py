"""The same person on another day: lying differently, at another breath, with other contents of the bowel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medlsam.phantoms.person import Person, Waves, rotation

# How far organs follow the diaphragm.
_FOLLOW = {
    "liver": 1.0, "gallbladder": 1.0, "spleen": 0.9, "stomach": 0.8, "kidney_left": 0.6, "kidney_right": 0.6,
    "pancreas": 0.5,
}  # fmt: skip
# What is drawn anew each time: the scanner's noise, where the grid begins, and what fills hollow organs.
_ANEW = {"noise", "grid"} | {
    "value:" + name for name in ("stomach fill", "gas level", "colon gas", "bladder", "rectal gas", "couch")
}
_MIDDLE = np.array([[0.0, 0.0, 400.0]])


@dataclass
class Visitor(Person):
    """A person at one visit. Visit 0 is ``Person`` itself.

    Attributes:
        visit: the number of the visit.
        change: how much differs between two visits: 1 for what is usual, 0 for nothing but noise and contents.
    """

    visit: int = 0
    change: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        #: (3, 3): turns directions of visit 0 into those of this visit.
        self.posture = np.eye(3)
        if self.visit == 0:
            return
        rng = super().generator(f"visit {self.visit}")
        angles = np.deg2rad(np.clip(rng.normal(0, [1.5, 1.5, 3.0]), -6, 6)) * self.change
        size = 1 + float(np.clip(rng.normal(0, 0.01), -0.02, 0.02)) * self.change
        shift = rng.uniform(-25, 25, 3) * self.change
        self._move(rotation(angles), size, shift)
        for axis, waves in enumerate(self.warp):
            bend = Waves.draw(rng, 170, 480)
            self.warp[axis] = Waves(
                np.concatenate([waves.vectors, bend.vectors]),
                np.concatenate([waves.phases, bend.phases]),
                np.concatenate([waves.weights, bend.weights * 0.35 * self.change]),
            )
        breath = float(np.clip(rng.normal(0, 5.0), -10, 10)) * self.change
        self.breath += breath
        for name, share in _FOLLOW.items():
            pose = self.pose(name)
            self.poses[name] = replace(pose, shift=pose.shift + np.array([0.0, 0.0, breath * share]))
        self.fat *= float(np.exp(rng.normal(0, 0.05) * self.change))
        self.contrast *= 1 + float(rng.uniform(-0.1, 0.1)) * self.change

    def generator(self, name: str) -> np.random.Generator:
        """The random stream that belongs to one name; some are of the visit, the others of the person."""
        anew = self.visit > 0 and name in _ANEW
        return super().generator(f"{name} at visit {self.visit}" if anew else name)

    def place(self, points: NDArray[np.float64], organ: str) -> NDArray[np.float64]:
        """(N, 3) LPS mm to mm of the reference body, without how far the organ follows the breath."""
        return self.from_physical(points) - self._followed(organ)

    def find(self, places: NDArray[np.float64], organ: str) -> NDArray[np.float64]:
        """(N, 3) LPS mm at this visit: the inverse of ``place``."""
        return self.warped_to_physical(places + self._followed(organ))

    def _followed(self, organ: str) -> NDArray[np.float64]:
        if organ not in _FOLLOW:
            return np.zeros(3)
        # Turn and scale of an organ are the same at all visits, so that a shift is all that differs.
        return self.pose(organ).shift

    def _move(self, turn: NDArray[np.float64], size: float, shift: NDArray[np.float64]) -> None:
        """Turn and scale the body about its middle and shift it, with all fields that are fixed to it."""
        middle = self.to_physical(_MIDDLE)[0]
        linear = turn * size
        offset = middle + shift - linear @ middle
        moved = turn @ self.rotation
        self.origin = linear @ self.origin + offset
        self.scale = self.scale * size
        # The inverse of `rotation`: about x, then y, then z.
        self.tilt = np.asarray(Rotation.from_matrix(moved).as_euler("xyz"))
        self.posture = turn
        inverse = turn / size
        for name in ("low", "mid", "mid2", "fine"):
            setattr(self, name, _carried(getattr(self, name), inverse, offset))
        self.warp = [_carried(waves, inverse, offset) for waves in self.warp]


def _carried(waves: Waves, inverse: NDArray[np.float64], offset: NDArray[np.float64]) -> Waves:
    """The field that has at ``A x + offset`` what ``waves`` has at x; ``inverse`` is A's, transposed."""
    vectors = waves.vectors @ inverse.T
    return Waves(vectors, waves.phases - vectors @ offset, waves.weights)
