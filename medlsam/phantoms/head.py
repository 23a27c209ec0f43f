"""Head and neck: skull and sinuses, brain, jaw, glands, airway."""

from __future__ import annotations

import numpy as np

from medlsam.phantoms.canvas import Block
from medlsam.phantoms.layout import FACE, canal_y
from medlsam.phantoms.shapes import (
    Coordinates,
    curve,
    ellipsoid,
    smooth_union,
    tube,
)

_VAULT = (0.0, -8.0, 836.0)


def skull(block: Block) -> None:
    """Vault, sloping base with petrous bones, orbits, maxilla and cheek bones with their sinuses."""
    p = block.posed("skull", _VAULT, 0.3)
    x, y, z = p
    ax = np.abs(x)
    mirrored = (ax, y, z)
    outer = ellipsoid(p, _VAULT, (70, 90, 74), 2.15)
    floor = (
        np.float32(781)
        - np.float32(0.36) * y
        + np.float32(5) * (ax > 20) * (y < -10)
        - np.float32(2) * block.mid
    )
    outside = np.maximum(outer, floor - 6 - z)
    thickness = np.float32(6.5) + np.float32(1.2) * block.low + np.float32(2.0) * (y > 60)
    within = np.maximum(outer + thickness, floor - z)
    foramen = (x / 15) ** 2 + ((y - 24) / 17) ** 2 < 1
    shell = np.maximum(outside, -within)
    diploe = np.abs(outer + thickness / 2) < thickness * np.float32(0.2)
    # Face: a bony core in front of the base, hollowed by orbits, nose and sinuses below.
    maxilla = np.maximum(ellipsoid(p, (0, -62, 776), (44, 37, 31), 2.3), FACE.distance(p) + 5)
    block.paint((maxilla < 0) & (z < floor + 4), np.float32(-20) + np.float32(30) * block.fine, "skull")
    block.paint((maxilla < 0) & (maxilla > -3.5) & (z < floor + 6), 620, "skull")
    palate = (maxilla < 0) & (np.abs(z - 751) < 4) & (ax < 27) & (y < -38)
    block.paint(palate, 650, "skull")
    block.paint((shell < 0) & ~(foramen & (z < 790)), 1150 - 350 * diploe.astype(np.float32), "skull")
    petrous = tube(mirrored, ((12, -8, 789, 7), (35, 8, 788, 10), (56, 16, 782, 12)))
    block.paint((petrous < 0) & (outer < 4), 1050 + 250 * block.fine, "skull")
    mastoid = ellipsoid(mirrored, (55, 24, 770), (11, 13, 18))
    block.paint(mastoid < 0, 700, "skull")
    cells = (mastoid < -3.5) & (block.fine > -0.1)
    block.paint(cells, -600, "skull")
    clivus = tube(p, ((0, 8, 772, 6), (0, -12, 790, 9), (0, -26, 796, 13)))
    block.paint(clivus < 0, 480 + 120 * block.fine, "skull")
    arch = tube(mirrored, ((50, -72, 777, 8), (61, -58, 779, 5), (66.5, -38, 782, 3.5), (66, -8, 785, 4.5)))
    block.paint(arch < 0, 800, "skull")
    orbit = ellipsoid(mirrored, (32, -66, 797), (20, 30, 18))
    block.paint((orbit < 3) & (outer < 2) & (y > -92), 750, "skull")
    block.paint((orbit < 0) & (y > -100), np.float32(-85))
    muscles = (np.abs(np.hypot(ax - 32 + (y + 66) * 0.25, z - 797) - 9 + (y + 60) * 0.1) < 1.6) & (orbit < 0)
    block.paint(muscles & (y > -72), 40)
    _sinuses(block, mirrored)


def _sinuses(block: Block, p: Coordinates) -> None:
    ax, y, z = p
    mucosa = np.float32(1.5) * block.mid
    holes = [
        (ellipsoid(p, (26, -66, 767), (13, 16, 14)), "maxillary"),
        (ellipsoid(p, (7, -32, 793), (8, 12, 9)), "sphenoid"),
        (ellipsoid(p, (8, -95, 818), (10, 5, 11)), "frontal"),
    ]
    for distance, name in holes:
        size = block.person.value(name, -3.0, 1.5)
        block.paint(distance + mucosa < size, -980, "skull")
    ethmoid = ellipsoid(p, (7, -66, 796), (7, 24, 10), 3.0) < 0
    block.paint(ethmoid, np.where(np.abs(block.fine) < 0.35, np.float32(200), np.float32(-850)), "skull")
    nose = (ellipsoid(p, (0, -68, 770), (13, 38, 17), 2.6) < 0) & (z > 755)
    turbinate = (np.abs(ax - 7) < 2.2) & (np.abs(np.sin((z - 755) / 4.2)) > 0.45) & (y > -92)
    septum = np.abs(p[0] + block.low * 1.2) < 1.6
    block.paint(nose, np.where(turbinate | septum, np.float32(40), np.float32(-960)))


def brain(block: Block) -> None:
    """Brain with sulci, ventricles and cerebellum inside cerebrospinal fluid; the brainstem below it."""
    p = block.posed("skull", _VAULT, 0.3)
    x, y, z = p
    ax = np.abs(x)
    outer = ellipsoid(p, _VAULT, (70, 90, 74), 2.15)
    floor = (
        np.float32(781)
        - np.float32(0.36) * y
        + np.float32(5) * (ax > 20) * (y < -10)
        - np.float32(2) * block.mid
    )
    within = np.maximum(outer + np.float32(7.5) + np.float32(1.2) * block.low + 2 * (y > 60), floor + 1 - z)
    block.paint(within < 0, 9)
    # Sulci: near the surface the cortex folds away from the bone.
    atrophy = np.float32(1 + 2 * block.person.age)
    surface = within + atrophy * np.clip(block.fine, 0, 2) * np.clip((within + 16) / 12, 0, 1)
    grey = np.float32(36) + np.float32(4) * block.mid - 6 * np.clip((-surface - 8) / 10, 0, 1)
    block.paint(surface < -1, grey, "brain")
    tent = (np.abs(z - (np.float32(812) - np.float32(0.25) * ax)) < 1.8) & (y > 18) & (within < 0)
    falx = (ax < 1.3) & (within < 0) & (z > 850 - 0.2 * y)
    block.paint(tent | falx, 55, "brain")
    size = 0.8 + 0.6 * block.person.age
    ventricle = tube(
        (ax, y, z),
        curve(
            ((9, -48, 842, 4), (10, -15, 852, 6), (16, 25, 846, 7), (27, 38, 832, 6), (31, 10, 815, 3)), 10
        ),
        (1, 1, 0.9),
    )
    block.paint((ventricle < size - 1) & (within < 0), 7, "brain")
    third = ellipsoid(p, (0, 0, 832), (2.5 * size, 15, 9)) < 0
    block.paint(third, 8, "brain")
    basal = ellipsoid((ax, y, z), (19, -12, 835), (9, 20, 13)) < 0
    block.paint(basal & (ventricle > size), 41, "brain")
    cistern = tube(p, ((0, 26, 766, 13), (0, 8, 792, 19), (0, 8, 812, 16)), (0.85, 1, 1))
    block.paint((cistern < 0) & (within < 4), 9)
    q = block.posed("brainstem", (0, 12, 795), 0.7)
    stem = smooth_union(
        tube(
            q,
            curve(
                ((0, 26, 768, 7), (0, 20, 780, 8.5), (0, 14, 792, 11.5), (0, 11, 805, 10.5), (0, 8, 816, 13)),
                8,
            ),
        ),
        ellipsoid(q, (0, 6, 795), (17, 12, 13)),
        6,
    )
    fourth = ellipsoid(q, (0, 27, 794), (6, 4.5, 10))
    block.paint((np.maximum(stem, z - 819) < 0) & (z > 766), 33, "brainstem")
    block.paint(fourth < 0, 8)


def eyes(block: Block) -> None:
    """Eyeballs with their lenses, and the optic nerves."""
    for side, name in ((1.0, "eye_left"), (-1.0, "eye_right")):
        p = block.posed(name, (side * 32, -80, 797), 0.3)
        nerve = tube(p, ((side * 31, -70, 797, 2.2), (side * 10, -35, 800, 2.2)))
        block.paint(nerve < 0, 35)
        ball = ellipsoid(p, (side * 32, -80, 797), (12, 12, 12))
        block.paint(ball < 0, 12, name)
        block.paint((ball < 0) & (ball > -1.5), 45, name)
        block.paint(ellipsoid(p, (side * 32, -89, 797), (4.5, 2.4, 4.5)) < 0, 75, name)


def mandible(block: Block) -> None:
    """The jaw as an arch with rami, its teeth and those of the upper jaw."""
    p = block.posed("mandible", (0, -45, 730), 0.7)
    x, y, z = p
    mirrored = (np.abs(x) + np.float32(0.02) * x, y, z)
    lower = curve(((0, -89, 707, 8), (20, -82, 706, 7), (38, -58, 708, 6.5), (48, -28, 713, 6)), 8)
    upper = tuple((a - 1.5, b + 1.0, c + 13, r - 0.5) for a, b, c, r in lower)
    body = smooth_union(tube(mirrored, lower), tube(mirrored, upper), 8)
    back = tube(
        mirrored, curve(((48, -20, 714, 5.5), (50, -12, 735, 4.5), (50.5, -8, 760, 4.5), (50, -7, 774, 6)), 6)
    )
    front = tube(mirrored, curve(((47, -36, 722, 5), (48, -33, 745, 4), (48.5, -32, 769, 3)), 5))
    middle = tube(mirrored, ((48, -28, 716, 5.5), (49, -21, 740, 4), (49.5, -20, 756, 3)))
    ramus = smooth_union(smooth_union(back, middle, 7), front, 7)
    block.bone(smooth_union(body, ramus, 6), "mandible", 3.2, 1300, 350)
    outer = np.sqrt(x * x + (y + 52) ** 2 * np.float32(0.95) + 1)
    angle = np.arctan2(x, -(y + 45))
    gaps = np.abs(np.sin(angle * np.float32(6.4))) > 0.28
    ring = (np.abs(outer - 33) < 4.2) & (y < -36) & gaps
    teeth = ring & ((np.abs(z - 728) < 8) | (np.abs(z - 746.5) < 8)) & (np.abs(z - 737) > 0.9)
    block.paint(teeth, 1700 + 350 * block.fine)


def glands(block: Block) -> None:
    """Parotid and submandibular glands, thyroid, and the muscles and vessels around them."""
    x, y, z = block.p
    ax = np.abs(x)
    mirrored = (ax, y, z)
    for nodes, hu in _MUSCLES:
        muscle = tube(mirrored, nodes, (1.5, 1, 1)) + np.float32(1.2) * block.mid
        block.paint(muscle < 0, hu + np.float32(6) * block.fine)
    vein, artery = (40 + 130 * block.person.share(name) for name in ("jugular", "carotid"))
    block.paint(tube(mirrored, _JUGULAR) < np.where(x < 0, np.float32(1.2), np.float32(0)), vein - 5)
    block.paint(tube(mirrored, _CAROTID) < 0, artery)
    sub = ellipsoid(mirrored, (34, -38, 706), (9, 15, 12)) + np.float32(1.5) * block.mid
    block.paint(sub < 0, block.person.density("submandibular", 38, 30))
    for side, name in ((1.0, "parotid_left"), (-1.0, "parotid_right")):
        p = block.posed(name, (side * 58, -5, 742))
        # The gland wraps the ramus: a superficial lobe beside it and a deep one behind it.
        shallow = ellipsoid(p, (side * 61, -10, 744), (8.5, 23, 26))
        deep = ellipsoid(p, (side * 54, 7, 738), (14, 12, 25))
        gland = smooth_union(shallow, deep, 8) + np.float32(1.6) * block.mid + np.float32(0.8) * block.fine
        texture = np.float32(block.person.density(name[:7], 0, 25)) + np.float32(22) * block.fine
        inside = (gland < 0) & (block.hu > -300) & (block.hu < 250)
        block.paint(inside, texture, name)
    p = block.posed("thyroid", (0, -26, 664))
    lobes = ellipsoid((np.abs(p[0]), p[1], p[2]), (17, -22, 668), (8, 10, 21))
    isthmus = ellipsoid(p, (0, -33, 660), (14, 4, 7))
    thyroid = smooth_union(lobes, isthmus, 4)
    block.paint(thyroid < 0, block.person.density("thyroid", 95, 60), "thyroid")


_MUSCLES = (
    (((58.0, -38.0, 772.0, 8.0), (57.0, -36.0, 742.0, 10.0), (52.0, -32.0, 718.0, 8.0)), 58.0),
    (((22.0, -40.0, 778.0, 8.0), (33.0, -28.0, 760.0, 10.0), (42.0, -24.0, 738.0, 6.0)), 55.0),
    (
        (
            (55.0, 18.0, 755.0, 7.0),
            (44.0, -8.0, 700.0, 9.0),
            (26.0, -36.0, 655.0, 9.0),
            (12.0, -58.0, 620.0, 5.0),
        ),
        56.0,
    ),
    (((62.0, -30.0, 790.0, 5.0), (70.0, -20.0, 815.0, 5.0), (72.0, -10.0, 835.0, 3.0)), 55.0),
    (((10.0, -4.0, 755.0, 6.0), (10.0, -5.0, 700.0, 6.0), (12.0, 4.0, 660.0, 6.0)), 55.0),
    (((8.0, -70.0, 708.0, 7.0), (8.0, -50.0, 705.0, 8.0), (10.0, -38.0, 690.0, 5.0)), 55.0),
)
_CAROTID = (
    (24.0, -22.0, 640.0, 3.5),
    (27.0, -12.0, 690.0, 4.0),
    (30.0, -4.0, 720.0, 3.5),
    (30.0, -2.0, 770.0, 2.5),
)
_JUGULAR = (
    (28.0, -28.0, 635.0, 6.0),
    (36.0, -10.0, 690.0, 5.5),
    (38.0, 4.0, 740.0, 4.5),
    (36.0, 8.0, 772.0, 3.5),
)


def airway(block: Block) -> None:
    """Tongue, pharynx, larynx with its cartilages, trachea and oesophagus."""
    p = block.p
    x, y, z = p
    tongue = np.minimum(ellipsoid(p, (0, -58, 732), (26, 28, 17)), ellipsoid(p, (0, -44, 722), (22, 20, 20)))
    block.paint(tongue < 0, np.float32(58) + np.float32(9) * block.fine)
    gap = np.abs(z - 749.5 + 0.03 * (y + 58) ** 2 * 0.1) < 1.8
    block.paint(gap & (np.abs(x) < 22) & (y > -84) & (y < -36), -900)
    wall = tube(p, _PHARYNX, (0.62, 1, 1))
    block.paint(wall < 4, 45)
    palate = tube(p, ((0, -38, 750, 4), (0, -28, 742, 4), (0, -25, 734, 3)), (0.5, 1, 1))
    block.paint((wall < 0) & (z > 712), -990)
    block.paint(palate < 0, 48)
    hyoid = tube((np.abs(x), y, z), ((0, -55, 716, 3.5), (14, -50, 717, 3), (22, -32, 721, 2.2)))
    block.paint(hyoid < 0, 450)
    q = block.posed("larynx", (0, -34, 694))
    qx, qy, qz = q
    larynx = np.maximum(
        ellipsoid(q, (0, -33, 694), (21, 19, 25), 2.3),
        (np.abs(qx) - (qy + 54) * np.float32(0.95) - 7) * np.float32(0.7),
    )
    block.paint(larynx < 0, np.float32(48) + np.float32(10) * block.fine, "larynx")
    cartilage = (larynx < -0.5) & (larynx > -4) & (qy < -22) & (qz > 684) & (qz < 708)
    block.paint(cartilage, np.float32(110 + 160 * block.person.age) + np.float32(90) * block.fine, "larynx")
    cricoid = np.abs(np.hypot(qx, qy + 30) - 12) < 2.6
    block.paint(cricoid & (np.abs(qz - 679) < 6) & (larynx < 0), 190, "larynx")
    glottis = np.float32(1) - np.float32(0.65) * np.exp(-(((qz - 690) / 4) ** 2))
    lumen = np.hypot(qx / (glottis * 8), (qy + 31) / 10) < 1
    block.paint(lumen & (larynx < 0), -985, "larynx")
    block.paint(lumen & (larynx >= 0) & (np.abs(qz - 694) < 28) & (qz > 700), -985)


_PHARYNX = (
    (0.0, -34.0, 772.0, 8.0), (0.0, -22.0, 764.0, 9.0), (0.0, -21.0, 745.0, 7.0), (0.0, -20.0, 728.0, 8.0),
    (0.0, -23.0, 712.0, 8.0),
)  # fmt: skip


def cord(block: Block) -> None:
    """Spinal canal with the cord in its fluid."""
    x, y, z = block.p
    q = block.posed("spinal_cord", (0, 40, 560), 0.15)
    middle = canal_y(z)
    lateral = np.float32(9.5) + np.float32(2.5) * (z > 655)
    sac = (q[0] / (lateral - 1.2)) ** 2 + ((q[1] - middle) / np.float32(7.4)) ** 2
    canal = (x / lateral) ** 2 + ((y - middle) / np.float32(8.2)) ** 2
    height = (z < 769) & (z > 150)
    block.paint((canal < 1) & height, -40)
    block.paint((sac < 1) & height, 14)
    width = (
        np.float32(4.6)
        + np.float32(1.9) * np.exp(-(((z - 685) / 28) ** 2))
        + np.exp(-(((z - 385) / 22) ** 2))
    )
    taper = np.clip((z - 345) / 20, 0.05, 1)
    cord_shape = (q[0] / (width * taper)) ** 2 + ((q[1] - middle) / (np.float32(4.2) * taper)) ** 2
    block.paint((cord_shape < 1) & (z > 346) & (z < 767), block.person.density("cord", 36), "spinal_cord")
