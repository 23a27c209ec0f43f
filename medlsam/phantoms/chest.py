"""Lungs with their vessels, heart, great vessels, windpipe and gullet."""

from __future__ import annotations

import numpy as np

from medlsam.phantoms.canvas import Block
from medlsam.phantoms.layout import spine_y
from medlsam.phantoms.shapes import (
    Array,
    curve,
    ellipsoid,
    smooth_union,
    tube,
)

_AORTA = (
    (6.0, -32.0, 512.0, 15.0), (-12.0, -36.0, 535.0, 15.0), (-16.0, -34.0, 562.0, 14.5),
    (-4.0, -12.0, 584.0, 14.0),
    (12.0, 15.0, 588.0, 13.0), (24.0, 36.0, 572.0, 12.5), (27.0, 44.0, 545.0, 12.0),
    (25.0, 46.0, 500.0, 12.0),
    (18.0, 36.0, 450.0, 11.5), (9.0, 16.0, 400.0, 11.0), (6.0, 2.0, 350.0, 10.0), (6.0, -8.0, 300.0, 9.5),
    (4.0, -7.0, 240.0, 9.0), (2.0, -7.0, 222.0, 9.0),
)  # fmt: skip
_ILIAC = (
    (3.0, -6.0, 222.0, 6.5), (24.0, 0.0, 190.0, 5.5), (50.0, -8.0, 150.0, 5.5), (68.0, -35.0, 115.0, 5.0),
    (80.0, -70.0, 62.0, 4.5), (84.0, -68.0, 10.0, 4.5), (90.0, -50.0, -120.0, 4.0),
)  # fmt: skip
_CAVA = (
    (-20.0, -2.0, 220.0, 10.0), (-21.0, -3.0, 300.0, 10.5), (-22.0, 2.0, 360.0, 11.0),
    (-24.0, 0.0, 410.0, 12.5),
    (-24.0, -8.0, 450.0, 13.0),
)  # fmt: skip
_GULLET = (
    (0.0, -12.0, 682.0, 6.0), (3.0, -8.0, 660.0, 6.5), (4.0, 6.0, 630.0, 6.5), (3.0, 24.0, 590.0, 7.0),
    (2.0, 32.0, 555.0, 7.5),
    (3.0, 32.0, 500.0, 8.0), (8.0, 22.0, 450.0, 8.5), (20.0, 8.0, 422.0, 9.0), (34.0, 4.0, 408.0, 10.0),
)  # fmt: skip
_WINDPIPE = (
    (0.0, -31.0, 674.0, 8.5), (0.0, -26.0, 650.0, 8.5), (0.0, -8.0, 612.0, 8.5), (0.0, 8.0, 575.0, 8.5),
    (-1.0, 14.0, 548.0, 8.5),
)  # fmt: skip
_BRONCHI = (
    ((-1.0, 14.0, 550.0, 8.0), (-22.0, 18.0, 533.0, 7.0), (-38.0, 20.0, 520.0, 5.5),
    (-50.0, 26.0, 495.0, 3.5)),
    ((-26.0, 18.0, 532.0, 5.0), (-44.0, 16.0, 540.0, 3.5), (-60.0, 14.0, 552.0, 2.5)),
    ((-1.0, 14.0, 550.0, 7.5), (24.0, 22.0, 530.0, 6.0), (40.0, 24.0, 520.0, 5.0), (54.0, 34.0, 495.0, 3.5)),
    ((36.0, 24.0, 522.0, 4.5), (52.0, 10.0, 530.0, 3.0), (66.0, 4.0, 540.0, 2.5)),
)  # fmt: skip
_HILUM = (
    ((-20.0, -6.0, 524.0, 9.0), (-46.0, 10.0, 518.0, 8.0), (-64.0, 22.0, 490.0, 5.0),
    (-80.0, 35.0, 450.0, 3.0)),
    ((-44.0, 6.0, 524.0, 7.0), (-66.0, -4.0, 552.0, 4.0), (-72.0, -10.0, 590.0, 2.5)),
    ((-40.0, -10.0, 512.0, 6.0), (-66.0, -30.0, 494.0, 4.0), (-90.0, -45.0, 470.0, 2.5)),
    ((20.0, -4.0, 532.0, 10.0), (46.0, 16.0, 526.0, 8.0), (64.0, 30.0, 495.0, 5.0), (80.0, 42.0, 450.0, 3.0)),
    ((46.0, 8.0, 530.0, 6.0), (62.0, -6.0, 556.0, 4.0), (68.0, -12.0, 590.0, 2.5)),
    ((50.0, 0.0, 514.0, 5.0), (78.0, -22.0, 500.0, 3.5), (98.0, -34.0, 478.0, 2.5)),
)  # fmt: skip


def lungs(block: Block) -> None:
    """Both lungs: air with branching vessels and fissures, between ribs, mediastinum and diaphragm."""
    x, y, z = block.p
    pleura = block.cage + np.float32(10.5)
    middle = np.float32(4) + np.float32(6) * np.clip((530 - z) / 60, 0, 1)
    behind = np.clip((y - spine_y(z) + 18) / 30, 0, 1)
    half = np.float32(9) + np.float32(19) * np.exp(-(((y - 6) / 42) ** 2)) + np.float32(11) * behind
    half += np.float32(8) * np.clip((z - 570) / 40, 0, 1) * (y < 30)
    medial = half - np.abs(x - middle) + np.float32(1.5) * block.mid
    lung = np.maximum(np.maximum(pleura, medial), block.dome + 3 - z)
    heart = heart_distance(block)
    lung = np.maximum(lung, 4 - heart)
    base = np.float32(-865) + np.float32(14) * block.low + np.float32(22) * np.clip(y / 60, -1, 1)
    reach = np.hypot(np.abs(x) - 45, np.hypot(y - 14, z - 520))
    # Two noise fields are both zero along curves: those are the small vessels, thinner away from the hilum.
    thickness = np.clip(0.34 - reach * np.float32(0.0019), 0.06, 0.3)
    vessel = np.hypot(block.mid, block.mid2) < thickness
    vessel2 = np.hypot(block.fine, block.mid - block.mid2) < thickness * np.float32(0.9)
    fissure = np.abs(z - 520 + (y - 10) * np.float32(1.0) + 6 * block.low) < 0.7
    hu = np.where((vessel | vessel2) & (lung < -3), np.float32(-60), base)
    hu = np.where(fissure & ~vessel, np.float32(-700), hu)
    for side, name in ((1.0, "lung_left"), (-1.0, "lung_right")):
        block.paint((lung < 0) & ((x - middle) * np.float32(side) > 0), hu, name)


def hila(block: Block) -> None:
    """Pulmonary vessels and the main bronchi, into the lungs from the mediastinum."""
    blood = block.person.density("blood", 42, 110)
    for nodes in _HILUM:
        block.paint(tube(block.p, curve(nodes, 6)) < 0, blood)
    trunk = tube(block.p, ((14, -44, 520, 13), (18, -22, 540, 13), (22, -4, 536, 11)))
    cross = tube(block.p, ((20, -10, 538, 10), (-6, -6, 532, 9), (-24, -4, 526, 9)))
    block.paint(np.minimum(trunk, cross) < 0, blood)


def heart_distance(block: Block) -> Array:
    """Distance to the heart's surface, mm."""
    p = block.posed("heart", (16, -38, 480), 0.8)
    x, y, z = p
    u = np.float32(0.78) * (x - 30) - np.float32(0.42) * (y + 40) - np.float32(0.46) * (z - 472)
    v = np.float32(0.5) * (x - 30) + np.float32(0.86) * (y + 40)
    w = np.float32(0.40) * (x - 30) - np.float32(0.23) * (y + 40) + np.float32(0.88) * (z - 472)
    left = ellipsoid((u, v, w), (4, 4, 0), (64, 42, 43))
    right = ellipsoid(p, (-20, -34, 484), (33, 37, 43))
    atrium = ellipsoid(p, (8, -2, 503), (37, 24, 25))
    return smooth_union(smooth_union(left, right, 18), atrium, 12)


def heart(block: Block) -> None:
    """Heart with blood-filled chambers, fat in its grooves and a pericardium."""
    d = heart_distance(block)
    p = block.posed("heart", (16, -38, 480), 0.8)
    x, y, z = p
    block.paint((d < 4) & (block.labels != 0), -80)
    muscle = block.person.density("heart", 42, 55)
    blood = block.person.density("blood", 42, 110)
    block.paint(d < 0, np.float32(muscle) + np.float32(5) * block.fine, "heart")
    chambers = [
        ellipsoid((x - (z - 472) * -0.25, y, z), (38, -40, 466), (27, 20, 24)),
        ellipsoid(p, (6, -60, 470), (24, 13, 28)),
        ellipsoid(p, (-24, -32, 486), (20, 24, 28)),
        ellipsoid(p, (8, -2, 503), (28, 16, 17)),
    ]
    for chamber in chambers:
        block.paint((np.minimum(chamber, 50) + 2 * block.mid < 0) & (d < -3), blood, "heart")
    groove = (np.abs(block.mid + 0.6 * block.low) < 0.12) & (d < 0) & (d > -6)
    block.paint(groove, -60, "heart")


def vessels(block: Block) -> None:
    """Aorta with arch branches and iliac arteries, both venae cavae."""
    _x, _y, _z = block.p
    arterial = block.person.density("aorta", 42, 150)
    venous = block.person.density("vena_cava", 40, 75)
    upper = tube(block.p, ((-26, -28, 505, 11), (-26, -22, 560, 9.5), (-24, -24, 595, 9), (-34, -30, 620, 8)))
    bridge = tube(block.p, ((-25, -26, 592, 7), (10, -40, 600, 6), (40, -34, 620, 7)))
    block.paint(np.minimum(upper, bridge) < 0, venous)
    for nodes in (
        ((-12, -20, 588, 6.0), (-24, -24, 615, 5.5), (-26, -20, 645, 4.0)),
        ((3, -6, 592, 4.5), (14, -12, 615, 4.0), (24, -20, 645, 4.0)),
        ((14, 14, 594, 5.0), (26, 10, 615, 5.0), (58, -6, 628, 4.5), (100, -12, 612, 4.0)),
        ((-26, -20, 622, 5.0), (-58, -8, 630, 4.5), (-100, -12, 612, 4.0)),
    ):
        block.paint(tube(block.p, nodes) < 0, arterial)
    p = block.posed("inferior_vena_cava", (-22, 0, 330), 0.5)
    block.paint(tube(p, curve(_CAVA, 12), (0.9, 1.1, 1)) < 0, venous, "inferior_vena_cava")
    q = block.posed("aorta", (6, 0, 430), 0.35)
    widen = 1.2 * block.person.age
    aorta = tube(q, curve(_AORTA, 30))
    block.paint(aorta < widen, arterial, "aorta")
    plaque = (aorta > -1.2) & (aorta < widen) & (block.fine > 1.9 - 0.8 * block.person.age) & (q[2] < 400)
    block.paint(plaque, 480, "aorta")


def iliacs(block: Block) -> None:
    """Iliac and femoral arteries and veins."""
    x, y, z = block.p
    artery = tube((np.abs(x), y, z), curve(_ILIAC, 12))
    vein = tube((np.abs(x) + np.float32(-3), y + np.float32(-11), z), curve(_ILIAC, 12))
    block.paint(vein < 1.5, block.person.density("vena_cava", 40, 75))
    block.paint(artery < 0, block.person.density("aorta", 42, 150))


def tubes(block: Block) -> None:
    """Gullet, windpipe and main bronchi."""
    p = block.posed("esophagus", (3, 10, 540), 0.35)
    wall = tube(p, curve(_GULLET, 16), (0.85, 1.15, 1)) + np.float32(0.7) * block.mid
    block.paint(wall < 0, np.float32(block.person.density("esophagus", 40, 15)), "esophagus")
    gas = (wall < -4.6) & (block.mid2 > 0.9)
    block.paint(gas, -650, "esophagus")
    q = block.posed("trachea", (0, -8, 610), 0.3)
    pipe = tube(q, curve(_WINDPIPE, 10), (0.95, 1, 1))
    below = (block.p[2] < 676) & (block.values["larynx"] != block.labels)
    block.paint((pipe < 2) & below, 55)
    block.paint((pipe < 0) & below, -985, "trachea")
    for nodes in _BRONCHI:
        bronchus = tube(q, curve(nodes, 6))
        block.paint(
            (bronchus < 1.3)
            & (bronchus >= 0)
            & (block.hu < -100)
            & (block.labels != block.values["trachea"]),
            0,
        )
        block.paint(bronchus < 0, -970, "trachea")
