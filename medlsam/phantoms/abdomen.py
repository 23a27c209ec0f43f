"""Organs of abdomen and pelvis."""

from __future__ import annotations

import numpy as np

from medlsam.phantoms.canvas import Block
from medlsam.phantoms.shapes import (
    curve,
    ellipsoid,
    smooth_union,
    tube,
)

_STOMACH = (
    (62.0, 28.0, 418.0, 26.0), (62.0, 8.0, 400.0, 32.0), (64.0, -28.0, 372.0, 30.0),
    (50.0, -58.0, 340.0, 25.0),
    (20.0, -68.0, 322.0, 20.0), (-8.0, -62.0, 328.0, 15.0), (-24.0, -46.0, 338.0, 10.0),
)  # fmt: skip
_PANCREAS = (
    (-24.0, -28.0, 305.0, 13.5), (-24.0, -30.0, 328.0, 14.5), (0.0, -36.0, 340.0, 10.5),
    (30.0, -22.0, 356.0, 11.5),
    (60.0, 8.0, 372.0, 11.5), (84.0, 30.0, 382.0, 9.5),
)  # fmt: skip
_COLON = (
    (-86.0, 6.0, 178.0, 24.0), (-96.0, 12.0, 230.0, 23.0), (-98.0, 6.0, 285.0, 21.0),
    (-88.0, -35.0, 300.0, 20.0),
    (-50.0, -74.0, 282.0, 20.0), (0.0, -78.0, 268.0, 19.0), (55.0, -74.0, 288.0, 19.0),
    (92.0, -35.0, 335.0, 18.0),
    (104.0, 15.0, 358.0, 18.0), (106.0, 28.0, 310.0, 16.0), (104.0, 22.0, 230.0, 15.0),
    (94.0, -2.0, 180.0, 15.0),
    (62.0, -22.0, 148.0, 15.0), (22.0, -8.0, 158.0, 15.0), (-2.0, 18.0, 145.0, 15.0),
    (2.0, 44.0, 122.0, 15.0),
)  # fmt: skip
_RECTUM = (
    (2.0, 44.0, 122.0, 15.0),
    (0.0, 58.0, 98.0, 18.0),
    (0.0, 52.0, 65.0, 19.0),
    (0.0, 40.0, 38.0, 13.0),
    (0.0, 44.0, 12.0, 10.0),
)


def liver(block: Block) -> None:
    """Liver under the right dome, thinning to the left, with its vessels; gallbladder below."""
    p = block.posed("liver", (-55, -5, 385))
    x, y, z = p
    right = ellipsoid(p, (-72, 2, 385), (68, 92, 88), 2.3)
    left = ellipsoid(p, (2, -48, 402), (58, 40, 32))
    whole = smooth_union(right, left, 25)
    under = np.float32(298) + np.float32(0.42) * (x + 125) + np.float32(0.10) * y - z
    fissure = np.float32(9) - np.hypot((x + 4) * 0.8, z - 365) + np.maximum(-y - 85, 0)
    whole = (
        np.maximum(np.maximum(whole, under), fissure) + np.float32(3) * block.mid + np.float32(2) * block.low
    )
    roof = block.p[2] - block.dome + 4
    wall = np.maximum((block.cage + np.float32(13)), block.wall + 2)
    whole = np.maximum(np.maximum(whole, roof), wall)
    fatty = 25 * max(block.person.value("fatty", -1.5, 1.0), 0.0)
    parenchyma = np.float32(block.person.density("liver", 58 - fatty, 48)) + np.float32(3) * block.fine
    depth = np.clip((-whole - 8) / 20, 0, 1)
    vein = np.hypot(block.low + 0.3 * block.mid2, block.mid) < 0.2 * depth
    portal = tube(p, ((-25, -15, 345, 7), (-42, -8, 368, 7), (-75, 0, 380, 5), (-100, 5, 385, 3)))
    change = np.float32(block.person.density("liver vessels", -8, 28))
    hu = np.where(vein | (portal < 0), parenchyma + change, parenchyma)
    block.paint(whole < 0, hu, "liver")
    q = block.posed("gallbladder", (-45, -55, 338))
    bladder = ellipsoid((q[0], q[1], q[2] - (q[1] + 55) * np.float32(0.3)), (-45, -55, 338), (14, 26, 17))
    block.paint(bladder < 1.5, 30)
    block.paint(bladder < 0, block.person.density("bile", 8), "gallbladder")


def upper(block: Block) -> None:
    """Spleen and pancreas."""
    p = block.posed("spleen", (96, 48, 388))
    spleen = ellipsoid(p, (94, 50, 388), (33, 50, 54), 2.2)
    notch = 40 - np.sqrt((p[0] - 46) ** 2 + (p[1] - 20) ** 2 + ((p[2] - 386) * 0.8) ** 2)
    wall = block.cage + np.float32(13)
    spleen = np.maximum(np.maximum(spleen, notch), np.maximum(wall, block.p[2] - block.dome + 4))
    spleen = spleen + np.float32(1.8) * block.mid
    block.paint(
        spleen < 0, np.float32(block.person.density("spleen", 48, 62)) + np.float32(3) * block.fine, "spleen"
    )
    q = block.posed("pancreas", (25, -15, 345))
    pancreas = tube(q, curve(_PANCREAS, 12)) + np.float32(2.2) * block.fine + np.float32(1.5) * block.mid
    block.paint(
        pancreas < 0,
        np.float32(block.person.density("pancreas", 38, 50)) - 12 * np.abs(block.fine),
        "pancreas",
    )


def kidneys(block: Block) -> None:
    """Both kidneys, the right one lower, with the adrenal glands above them."""
    for side, name in ((1.0, "left"), (-1.0, "right")):
        adrenal = tube(block.p, ((side * 42, 28, 398, 3), (side * 34, 20, 386, 3), (side * 46, 18, 380, 2.5)))
        block.paint(adrenal < 0, 35)
        _kidney(block, side, "kidney_" + name, 352.0 if side > 0 else 338.0)


def _kidney(block: Block, side: float, name: str, height: float) -> None:
    p = block.posed(name, (side * 64, 44, height))
    x, y, z = p[0] * np.float32(side), p[1], p[2]
    # The upper pole leans to the spine and to the back; the hilum opens forwards and to the middle.
    u = x - 64 + (z - height) * np.float32(0.22)
    v = y - 42 + (z - height) * np.float32(0.12)
    w = z - height
    a = np.float32(0.8) * u + np.float32(0.6) * v
    b = np.float32(-0.6) * u + np.float32(0.8) * v
    kidney = ellipsoid((a, b, w), (0, 0, 0), (30, 25, 54)) + np.float32(1.2) * block.mid
    hilum = ellipsoid((a, b, w), (-25, 0, 0), (20, 9, 19))
    vessel = tube((x, y, z), ((12, 8, height + 4, 4.5), (44, 36, height, 4)))
    block.paint(vessel < 0, block.person.density("vena_cava", 40, 75))
    cortex = np.float32(block.person.density("kidney", 32, 130))
    medulla = np.float32(block.person.density("medulla", 30, 75))
    inner = (kidney < -7) & (np.abs(np.sin(np.arctan2(b, a) * 2 + w * 0.16)) > 0.35)
    block.paint(np.maximum(kidney, -hilum) < 0, np.where(inner, medulla, cortex), name)
    calyx = (kidney < -11) & (hilum > 0) & (hilum < 7) & (block.fine > 0.3)
    block.paint(calyx, -40, name)
    pelvis = ellipsoid((a, b, w), (-22, 0, -3), (14, 5, 11))
    block.paint((pelvis < 0) & (kidney < 0), 10)


def bowel(block: Block) -> None:
    """Small bowel as packed loops, with gas where it floats up to the front."""
    p = block.posed("small_bowel", (0, -40, 220))
    _x, y, _z = p
    room = np.minimum(
        ellipsoid(p, (0, -45, 225), (86, 46, 78), 2.3), ellipsoid(p, (-10, -30, 155), (62, 42, 50))
    )
    room = np.maximum(room, block.wall + 5)
    fold = block.mid + np.float32(0.25) * block.fine
    lumen = np.abs(fold)
    loops = (room < 0) & (lumen > np.float32(0.24))
    hu = np.where(lumen < 0.5, np.float32(48), np.float32(22) + np.float32(9) * block.fine)
    gas = (lumen > 0.85) & (block.mid2 > 0.5) & (y < -45)
    block.paint(loops, np.where(gas, np.float32(-900), hu), "small_bowel")


def stomach(block: Block) -> None:
    """Stomach with fluid below and gas above."""
    p = block.posed("stomach", (45, -25, 370))
    fill = block.person.value("stomach fill", 0.72, 1.08)
    nodes = tuple((a, b, c, r * fill) for a, b, c, r in curve(_STOMACH, 12))
    wall = tube(p, nodes) + np.float32(1.5) * block.mid
    wall = np.maximum(wall, block.p[2] - block.dome + 5)
    block.paint(wall < 0, np.float32(block.person.density("stomach", 42, 30)), "stomach")
    level = block.person.value("gas level", -58.0, -25.0)
    content = np.where(p[1] < level, np.float32(-940), np.float32(18) + np.float32(16) * block.fine)
    block.paint(wall < -4.5, content, "stomach")


def colon(block: Block) -> None:
    """Colon with haustra, filled with gas and stool; rectum."""
    p = block.posed("colon", (0, -10, 250), 0.8)
    nodes = curve(_COLON, 34)
    wave = np.sin((p[0] + 0.6 * p[1] + 0.9 * p[2]) * np.float32(2 * np.pi / 27))
    size = block.person.value("colon size", -3.5, 2.0)
    wall = tube(p, nodes) + np.float32(2.2) * wave + np.float32(1.8) * block.mid - np.float32(size)
    wall = np.maximum(wall, block.wall + 3)
    block.paint(wall < 0, 42, "colon")
    stool = np.where(block.fine > 0.75, np.float32(-420), np.float32(25) + np.float32(35) * block.fine)
    gas = (p[1] + 14 * block.low < block.person.value("colon gas", -75.0, 5.0)) | (block.low > 1.0)
    block.paint(wall < -3.0, np.where(gas, np.float32(-930), stool), "colon")


def pelvic(block: Block) -> None:
    """Bladder, rectum, prostate or womb."""
    q = block.posed("rectum", (0, 50, 70))
    wall = tube(q, curve(_RECTUM, 10)) + np.float32(1.2) * block.mid
    block.paint(wall < 0, 42, "rectum")
    gas = block.mid2 > block.person.value("rectal gas", -0.5, 2.0)
    block.paint(wall < -5, np.where(gas, np.float32(-850), np.float32(25)), "rectum")
    fill = block.person.value("bladder", 0.72, 1.25)
    p = block.posed("bladder", (0, -34, 60))
    bladder = (
        ellipsoid(p, (0, -30, 62 + 24 * fill), (40 * fill, 34 * fill**0.7, 29 * fill), 2.2)
        + np.float32(1.2) * block.low
    )
    if block.person.female:
        womb = smooth_union(
            ellipsoid(block.posed("womb", (3, 10, 110)), (3, 4, 118), (25, 22, 30)),
            ellipsoid(block.p, (1, 14, 85), (15, 13, 22)),
            10,
        )
        block.paint((womb < 0), np.float32(block.person.density("womb", 48, 45)) + np.float32(6) * block.fine)
        for side in (-1.0, 1.0):
            ovary = ellipsoid(block.p, (side * 42, 6, 118), (13, 11, 16))
            block.paint(ovary < 0, np.float32(25) + np.float32(12) * block.mid)
    block.paint(bladder < 3.5, block.person.density("bladder wall", 38, 25), "bladder")
    block.paint(bladder < 0, block.person.density("urine", 4), "bladder")
    if not block.person.female:
        r = block.posed("prostate", (0, -12, 46))
        size = 0.85 + 0.4 * block.person.age
        prostate = ellipsoid(r, (0, -12, 48), (24 * size, 17 * size, 19 * size)) + np.float32(1) * block.mid
        block.paint(
            (prostate < 0) & (bladder > 3),
            block.person.density("prostate", 42, 30) + 5 * block.fine,
            "prostate",
        )


def psoas(block: Block) -> None:
    """Psoas and iliacus from the lumbar spine over the pelvic brim to the thigh, the diaphragm's crura."""
    for side, name in ((1.0, "psoas_left"), (-1.0, "psoas_right")):
        p = block.posed(name, (side * 45, 15, 250), 0.5)
        q = (p[0] * np.float32(side), p[1], p[2])
        nodes = (
            (27.0, 36.0, 362.0, 6.0), (36.0, 32.0, 310.0, 14.0), (44.0, 26.0, 250.0, 20.0),
            (54.0, 18.0, 205.0, 21.0),
            (72.0, -8.0, 150.0, 19.0), (90.0, -42.0, 95.0, 16.0), (100.0, -34.0, 55.0, 14.0),
            (104.0, -6.0, 22.0, 9.0),
        )  # fmt: skip
        iliacus = tube(q, ((112, -4, 196, 8), (104, -18, 165, 13), (98, -34, 120, 13), (98, -38, 80, 12)))
        block.paint(iliacus + np.float32(2) * block.mid < 0, 55 + 6 * block.fine)
        muscle = tube(q, curve(nodes, 12)) + np.float32(1.5) * block.mid
        block.paint(
            muscle < 0, np.float32(block.person.density("muscle", 52, 12)) + np.float32(6) * block.fine, name
        )
        crus = tube(block.p, ((side * 14, 8, 400, 5), (side * 13, 8, 350, 5), (side * 10, 6, 310, 3)))
        block.paint(crus < 0, 48)
