"""One individual: sizes, build, pose of each organ, tissue densities and the warp of the whole body."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid

_WAVES = 20
#: How structures take up the contrast agent: all with one share, or each with its own.
Enhancement = Literal["one", "each"]
#: Where each has its own: chance that a structure takes up none, and the largest share.
_PLAIN, _LARGEST_SHARE = 0.25, 1.2


@dataclass(frozen=True)
class Waves:
    """A smooth random field as a sum of plane waves.

    A plane wave is a product of one factor per voxel axis on any grid, oblique ones too: the field is
    exact in physical space and costs one matrix product.
    """

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, shortest_mm: float, longest_mm: float) -> Waves:
        """A field of unit variance with wavelengths in the given range (mm)."""
        directions = rng.normal(size=(_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(shortest_mm), np.log(longest_mm), size=(_WAVES, 1)))
        weights = rng.uniform(0.7, 1.3, size=_WAVES)
        weights *= np.sqrt(2.0 / np.sum(weights**2))
        phases = rng.uniform(0, 2 * np.pi, size=_WAVES)
        return cls(directions * 2 * np.pi / lengths, phases, weights)

    def on(self, grid: Grid, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start, Y, X): the field on slices ``start`` to ``stop`` of axis 0 of a grid."""
        steps = self.vectors @ grid.matrix
        offset = self.phases + self.vectors @ np.asarray(grid.origin_xyz)
        _, rows, columns = grid.shape_zyx
        outer = np.exp(1j * (offset + np.arange(start, stop)[:, None] * steps[:, 2])) * self.weights
        outer = outer[:, None, :] * np.exp(1j * np.arange(rows)[:, None] * steps[:, 1])
        inner = np.exp(1j * np.arange(columns)[:, None] * steps[:, 0])
        left = np.concatenate([outer.real, -outer.imag], axis=-1).astype(np.float32)
        right = np.concatenate([inner.real, inner.imag], axis=-1).astype(np.float32)
        return np.asarray(left @ right.T, dtype=np.float32)

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,): the field at (N, 3) LPS mm."""
        return np.asarray(np.cos(points @ self.vectors.T + self.phases) @ self.weights)


@dataclass(frozen=True)
class Pose:
    """How one organ of this person differs from the reference body."""

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    turn: NDArray[np.float64]


@dataclass
class Person:
    """Everything that is random about one body, drawn from one integer.

    Each organ draws from a generator of its own, so that leaving one out changes nothing else.

    Attributes:
        seed: of all draws.
        enhancement: whether all structures take up the same share of the contrast agent, or each one its own.
    """

    seed: int
    enhancement: Enhancement = "one"

    def __post_init__(self) -> None:
        rng = self.generator("body")
        self.female = bool(rng.random() < 0.5)
        height = rng.normal(0.965 if self.female else 1.01, 0.035)
        girth = rng.normal(0.97 if self.female else 1.02, 0.038)
        self.scale = np.clip(
            np.array([girth * rng.normal(1, 0.015), girth * rng.normal(1, 0.02), height]), 0.82, 1.2
        )
        self.fat = float(np.clip(np.exp(rng.normal(0.1 if self.female else -0.05, 0.4)), 0.45, 2.2))
        self.origin = rng.uniform([-60, -60, -900], [60, 60, 300])
        self.tilt = np.deg2rad(rng.normal(0, [2.0, 1.5, 2.5]))
        self.contrast = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.6 else 0.0
        self.breath = float(rng.normal(0, 9.0))
        self.nod = np.clip(rng.normal(0, [0.03, 0.07]), -0.13, 0.13)
        self.age = float(rng.uniform(0, 1))
        self.warp = [Waves.draw(rng, 170, 480) for _ in range(3)]
        self.warp_mm = np.array([4.5, 4.5, 6.0])
        self.low = Waves.draw(rng, 80, 160)
        self.mid = Waves.draw(rng, 30, 55)
        self.mid2 = Waves.draw(rng, 28, 50)
        self.fine = Waves.draw(rng, 11, 20)
        self.poses: dict[str, Pose] = {}

    def generator(self, name: str) -> np.random.Generator:
        """The random stream that belongs to one name."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def pose(self, name: str, amount: float = 1.0) -> Pose:
        """The pose of one organ; ``amount`` scales how much it varies."""
        if name not in self.poses:
            rng = self.generator(name)
            shift = np.clip(rng.normal(0, 3.5, 3), -8, 8) * amount
            scale = 1 + np.clip(rng.normal(0, 0.045) + rng.normal(0, 0.03, 3), -0.14, 0.14) * amount
            turn = np.deg2rad(np.clip(rng.normal(0, 4.0, 3), -9, 9)) * amount
            self.poses[name] = Pose(shift, scale, turn)
        return self.poses[name]

    def value(self, name: str, low: float, high: float) -> float:
        """One number of this person, uniform between two limits."""
        return float(self.generator("value:" + name).uniform(low, high))

    def density(self, name: str, hu: float, enhancement: float = 0.0) -> float:
        """The HU of a tissue in this person, with its share of the contrast agent.

        Args:
            name: of the tissue; the same name has the same HU.
            hu: without contrast.
            enhancement: HU that a full share adds.
        """
        return hu + float(self.generator("hu:" + name).normal(0, 4.0)) + enhancement * self.share(name)

    def share(self, name: str) -> float:
        """The share of the contrast agent that a tissue takes up; 0 for none, about 1 for much."""
        if self.enhancement == "one":
            return self.contrast
        rng = self.generator("contrast:" + name)
        plain, share = rng.random() < _PLAIN, rng.uniform(0, _LARGEST_SHARE)
        return 0.0 if plain else float(share)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3): reference body to physical directions."""
        return rotation(self.tilt)

    def to_physical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) mm of the reference body to LPS mm, without the smooth warp."""
        return np.asarray((points * self.scale) @ self.rotation.T + self.origin)

    def neck_shear(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) mm in x and y by which the head is bent on the neck at heights z (N, 1)."""
        above = np.maximum(z - 650.0, 0.0)
        return np.asarray(self.nod * above**2 / (above + 60.0))

    def from_physical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) LPS mm to mm of the reference body, with the smooth warp: what ``coordinates`` has on a grid."""
        body = ((points - self.origin) @ self.rotation) / self.scale
        body = body + self.warp_mm * np.stack([waves.at(points) for waves in self.warp], axis=1)
        body[:, :2] += self.neck_shear(body[:, 2:])
        return np.asarray(body)

    def warped_to_physical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) mm of the reference body to LPS mm: the inverse of ``from_physical``."""
        straight = np.array(points, dtype=float)
        straight[:, :2] -= self.neck_shear(straight[:, 2:])
        physical = self.to_physical(straight)
        # The warp changes by less than a fifth of a step: a few rounds bring the error below a micrometre.
        for _ in range(12):
            warp = self.warp_mm * np.stack([waves.at(physical) for waves in self.warp], axis=1)
            physical = self.to_physical(straight - warp)
        return physical

    def coordinates(
        self, grid: Grid, start: int, stop: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """x, y, z (each (stop - start, Y, X), mm of the reference body) of slices of a grid."""
        matrix = (self.rotation.T @ grid.matrix) / self.scale[:, None]
        base = (self.rotation.T @ (np.asarray(grid.origin_xyz) - self.origin)) / self.scale
        _, rows, columns = grid.shape_zyx
        k = np.arange(start, stop)[:, None, None]
        j, i = np.arange(rows)[None, :, None], np.arange(columns)[None, None, :]
        out = []
        for axis in range(3):
            line = base[axis] + matrix[axis, 2] * k + matrix[axis, 1] * j
            value = line.astype(np.float32) + (matrix[axis, 0] * i).astype(np.float32)
            value += np.float32(self.warp_mm[axis]) * self.warp[axis].on(grid, start, stop)
            out.append(value)
        x, y, z = out
        above = np.maximum(z - np.float32(650), np.float32(0))
        bend = above * above / (above + np.float32(60))
        x += np.float32(self.nod[0]) * bend
        y += np.float32(self.nod[1]) * bend
        return x, y, z


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z (radians)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)
