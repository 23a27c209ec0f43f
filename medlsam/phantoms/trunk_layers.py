"""Skin, fat, muscle and the body cavities: what every organ is painted into."""

from __future__ import annotations

import numpy as np

from medlsam.phantoms.canvas import Block
from medlsam.phantoms.layout import FACE, FAT, SKIN
from medlsam.phantoms.shapes import (
    Array,
    curve,
    ellipsoid,
    smooth_union,
    tube,
)

ARM = (
    (172.0, 5.0, 590.0, 44.0), (200.0, 5.0, 540.0, 48.0), (214.0, 6.0, 460.0, 45.0),
    (220.0, 5.0, 380.0, 40.0),
    (222.0, -5.0, 260.0, 38.0), (212.0, -25.0, 130.0, 28.0), (206.0, -32.0, 70.0, 30.0),
    (200.0, -40.0, 10.0, 18.0),
)  # fmt: skip


def body(block: Block, arms: bool) -> None:
    """Skin, subcutaneous fat and muscle of the whole body."""
    x, y, z = block.p
    person = block.person
    thickness = FAT.at(z, 0)
    # The fascia is what the tables give; a thicker fat layer moves the skin outwards, more at the belly.
    extra = np.float32(person.fat - 1) * thickness
    belly = np.exp(-(((z - np.float32(230)) / 90) ** 2)) * np.clip(-y / 100, 0, 1)
    extra += np.float32(max(person.fat - 0.8, 0) * 16) * belly
    skin = np.full(x.shape, np.float32(500))
    if float(z.min()) < 800:
        skin = SKIN.distance(block.p)
    if float(z.min()) < 140:
        skin = smooth_union(skin, _legs(block), 24)
    if float(z.max()) > 640:
        skin = np.minimum(skin, _head(block))
    if arms:
        np.minimum(skin, tube((np.abs(x), y, z), curve(ARM, 12), reach_mm=50.0), out=skin)
    if person.female:
        for side in (-1.0, 1.0):
            breast = ellipsoid(block.p, (side * 75, -108, 498), (55, 30 + 10 * person.fat, 52), reach_mm=60)
            skin = smooth_union(skin, breast, 12)
    nominal = np.where(skin > 60, skin, skin + np.float32(1.5) * block.low)
    skin = nominal - extra
    depth = -skin
    fascia = depth - thickness * np.float32(person.fat) - np.float32(1.5) * block.mid
    fat = np.float32(-102) + np.float32(8) * block.fine
    muscle = np.float32(person.density("muscle", 56, 12)) + np.float32(7) * block.fine
    # Fat planes between the muscle bellies: thin sheets where a noise field crosses zero.
    planes = np.clip(
        1.5 - np.abs(block.mid + np.float32(0.7) * block.low) / np.float32(0.13 + 0.06 * person.fat), 0, 1
    )
    muscle -= planes * np.float32(105)
    hu = np.where(fascia > 0, muscle, fat)
    # Skin is thinner than a voxel: blend it over its 2 mm instead of sampling it.
    rim = np.clip(1 - np.abs(depth - np.float32(1.2)) / np.float32(1.8), 0, 1)
    hu = hu * (1 - rim) + np.float32(20) * rim
    if person.female:
        gland = (np.abs(np.abs(x) - 75) < 40) & (np.abs(z - 496) < 36) & (y < -112) & (depth > 8)
        hu = np.where(gland & (block.mid + block.fine > 0.5), np.float32(15), hu)
    block.paint(depth > 0, hu)


def _legs(block: Block) -> Array:
    x, y, z = block.p
    thigh = ((87.0, -2.0, 60.0, 80.0), (90.0, -2.0, 0.0, 82.0), (95.0, -4.0, -180.0, 72.0))
    return tube((np.abs(x), y, z), thigh, reach_mm=60.0)


def _head(block: Block) -> Array:
    p = block.p
    x, y, z = p
    vault = ellipsoid(p, (0, -8, 836), (77, 98, 82))
    head = smooth_union(FACE.distance(p), vault, 14)
    nose = ellipsoid(p, (0, -104, 768), (15, 20, 17))
    bridge = ellipsoid(p, (0, -104, 785), (9, 12, 24))
    head = smooth_union(head, np.minimum(nose, bridge), 8)
    lips = ellipsoid(p, (0, -99, 737), (24, 9, 11))
    head = smooth_union(head, lips, 6)
    ax = np.abs(x)
    ear = ellipsoid((ax - (y - 5) * np.float32(0.3), y, z), (73, 6, 782), (5, 16, 28))
    return np.minimum(head, ear)


def face_fat(block: Block) -> None:
    """Face and neck below the vault are fat pads with muscles painted into them later."""
    x, y, z = block.p
    face = FACE.distance(block.p) + np.float32(6)
    cheeks = (face < 0) & (np.abs(x) > 28) & (y < 20) & (block.mid > -0.9)
    block.paint(cheeks, np.float32(-95) + np.float32(12) * block.fine)
    side = ellipsoid((np.abs(x), y, z), (44, 18, 676), (16, 20, 40)) + np.float32(4) * block.mid
    block.paint((side < 0) & (block.hu > -200), np.float32(-90) + np.float32(10) * block.fine)


def cavities(block: Block) -> None:
    """Fat inside the abdominal wall and in the mediastinum, bounded by the diaphragm and the ribs."""
    _, _, z = block.p
    wall = block.wall
    cage = block.cage + np.float32(11)
    inside = np.where(z > 350, np.minimum(wall, cage), wall)
    inside = np.where(z > 330, cage, inside)
    visceral = np.float32(-98) + np.float32(9) * block.fine
    block.paint(inside < 0, visceral)
    # The diaphragm itself: a thin sheet of muscle.
    sheet = np.abs(z - block.dome) < 3
    block.paint((cage < 0) & sheet & (z > 320), np.float32(45))


def mediastinum(block: Block) -> None:
    """Fat around heart and great vessels, where the chest has no lung."""
    cage = block.cage + np.float32(11)
    keep = (cage < 0) & (block.p[2] > block.dome)
    block.paint(keep, np.float32(-90) + np.float32(10) * block.fine)
