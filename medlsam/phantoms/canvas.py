"""What the anatomy is painted on: a slab of the scan, and the part of it that one structure can touch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.phantoms.layout import CAGE, CAVITY, diaphragm
from medlsam.phantoms.person import Person, rotation
from medlsam.phantoms.shapes import Array, Coordinates

# Organs move by their own pose, the body by its warp: both must stay inside this margin of a box.
_MARGIN_MM = 28.0


@dataclass(frozen=True)
class Block:
    """Views of the arrays of a slab.

    ``p`` are coordinates of the reference body; ``low`` to ``fine`` noise fields of unit variance;
    ``cage`` and ``wall`` distances to the outside of the ribs and the inside of the abdominal wall;
    ``dome`` the height of the diaphragm (mm); ``hu`` and ``labels`` what is painted.
    """

    p: Coordinates
    low: Array
    mid: Array
    mid2: Array
    fine: Array
    cage: Array
    wall: Array
    dome: Array
    hu: Array
    labels: NDArray[np.uint8]
    person: Person
    values: Mapping[str, int]
    absent: Collection[str]

    def posed(self, name: str, center: tuple[float, float, float], amount: float = 1.0) -> Coordinates:
        """The coordinates in which this person's organ lies as in the reference body.

        Args:
            name: the organ.
            center: the point about which it turns and scales, mm of the reference body.
            amount: how much of the usual variation it has.
        """
        pose = self.person.pose(name, amount)
        inverse = (rotation(pose.turn).T / pose.scale[:, None]).astype(np.float32)
        moved = [a - np.float32(c + s) for a, c, s in zip(self.p, center, pose.shift, strict=True)]
        x, y, z = (
            inverse[row, 0] * moved[0]
            + inverse[row, 1] * moved[1]
            + inverse[row, 2] * moved[2]
            + np.float32(center[row])
            for row in range(3)
        )
        return x, y, z

    def paint(
        self, mask: NDArray[np.bool_], hu: float | np.floating[Any] | Array, name: str | None = None
    ) -> None:
        """Set HU where the mask holds, and the label of ``name`` (None clears it, unknown tissue).

        Structures that were asked to be absent are not painted.
        """
        if name in self.absent:
            return
        np.copyto(self.hu, np.asarray(hu, dtype=np.float32), where=mask)
        np.copyto(self.labels, np.uint8(self.values[name] if name else 0), where=mask)

    def bone(
        self,
        distance: Array,
        name: str | None,
        cortex_mm: float = 3.0,
        hard: float = 900,
        marrow: float = 220,
    ) -> None:
        """Paint a bone: a dense cortex around a spongy inside, softer with age."""
        porous = 1.15 - 0.3 * self.person.age
        inner = np.float32(marrow * porous) + np.float32(30) * self.fine
        depth = np.clip(-distance / np.float32(cortex_mm), 0, 1.6)
        shell = np.float32(hard * porous) * (1 - np.maximum(depth - np.float32(0.6), 0)) + inner * np.maximum(
            depth - np.float32(0.6), 0
        )
        self.paint(distance < 0, shell, name)


class Canvas:
    """A slab of the scan.

    Args:
        person: whose body.
        grid: the whole scan.
        start: first slice along array axis 0.
        stop: past the last slice.
        values: label value per name.
        absent: names not to paint.
    """

    def __init__(
        self,
        person: Person,
        grid: Grid,
        start: int,
        stop: int,
        values: Mapping[str, int],
        absent: Collection[str],
    ) -> None:
        self.person, self.grid, self.start, self.stop = person, grid, start, stop
        shape = (stop - start, *grid.shape_zyx[1:])
        self.whole = Block(
            p=person.coordinates(grid, start, stop),
            low=person.low.on(grid, start, stop),
            mid=person.mid.on(grid, start, stop),
            mid2=person.mid2.on(grid, start, stop),
            fine=person.fine.on(grid, start, stop),
            cage=np.full(shape, np.float32(1e3)),
            wall=np.full(shape, np.float32(1e3)),
            dome=np.full(shape, np.float32(1e3)),
            hu=np.full(shape, np.float32(-1000)),
            labels=np.zeros(shape, np.uint8),
            person=person,
            values=values,
            absent=frozenset(absent),
        )
        # The walls of the body's cavities are asked for by many organs: work them out once.
        trunk = self.block((-145, 145, -110, 120, 10, 655))
        if trunk is not None:
            trunk.cage[...] = CAGE.distance(trunk.p, open_below=True)
            trunk.wall[...] = CAVITY.distance(trunk.p)
            trunk.dome[...] = diaphragm(trunk.p, trunk.low, person.breath)

    def block(self, box: tuple[float, float, float, float, float, float]) -> Block | None:
        """The part that a box (x0, x1, y0, y1, z0, z1, mm of the reference body) can reach, or None."""
        x0, x1, y0, y1, z0, z1 = box
        corners = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)], dtype=float)
        corners += np.sign(corners - corners.mean(axis=0)) * _MARGIN_MM
        corners[:, :2] -= self.person.neck_shear(corners[:, 2:])
        ijk = self.grid.lps_to_ijk(self.person.to_physical(corners))
        first = np.maximum(np.floor(ijk.min(axis=0)), 0).astype(int)[::-1] - [self.start, 0, 0]
        last = np.ceil(ijk.max(axis=0)).astype(int)[::-1] + 1 - [self.start, 0, 0]
        first, last = np.maximum(first, 0), np.minimum(last, self.whole.hu.shape)
        if (first >= last).any():
            return None
        part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        w = self.whole
        return replace(
            w,
            p=(w.p[0][part], w.p[1][part], w.p[2][part]),
            low=w.low[part],
            mid=w.mid[part],
            mid2=w.mid2[part],
            fine=w.fine[part],
            cage=w.cage[part],
            wall=w.wall[part],
            dome=w.dome[part],
            hu=w.hu[part],
            labels=w.labels[part],
        )
