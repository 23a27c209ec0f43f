"""Spine, rib cage, shoulder girdle, pelvis and thighs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.phantoms.canvas import Block
from medlsam.phantoms.layout import (
    CAGE,
    EDGES,
    body_radii,
    canal_y,
    level,
    spine_y,
)
from medlsam.phantoms.shapes import (
    Nodes,
    curve,
    ellipsoid,
    plate,
    smooth_union,
    tube,
)


def spine(block: Block) -> None:
    """Vertebrae of all levels at once: bodies, discs, arches, transverse and spinous processes."""
    x, y, z = block.p
    ax = np.abs(x)
    middle, canal = spine_y(z), canal_y(z)
    half, depth = body_radii(z)
    u = level(z)
    number = np.floor(u)
    part = u - number  # 0 at the upper edge of a vertebra, 1 at its lower edge
    lumbar, cervical = number >= 19, number < 7
    height = np.where(lumbar, np.float32(35), np.where(cervical, np.float32(17), np.float32(24)))
    waist = 1 - np.float32(0.09) * np.sin(np.pi * part)
    body = (np.hypot(ax / half, (y - middle) / depth) / waist - 1) * depth
    disc = np.where(lumbar, np.float32(0.13), np.float32(0.1))
    from_plate = (np.minimum(part, 1 - part) - disc) * height
    valid = (number >= 1) & (number < 24)
    block.paint((body < 0) & (from_plate < 0) & valid, np.float32(78) + np.float32(8) * block.fine)
    block.bone(np.where(valid, np.maximum(body, -from_plate), np.float32(9)), "vertebrae", 2.2, 560, 190)
    ring = np.hypot(ax / np.float32(11), (y - canal) / np.float32(9.5)) - 1
    arch = np.maximum(
        (np.abs(ring * 10 - 2.5) - 3),
        np.maximum(middle - y, np.float32(0)) + (np.abs(part - 0.42) - 0.32) * height,
    )
    slope = np.where(lumbar, np.float32(0.15), np.where(cervical, np.float32(0.3), np.float32(0.85)))
    leaning = level(z + slope * np.maximum(y - canal, 0))
    tip = leaning - np.floor(leaning)
    reach = np.where(cervical, np.float32(22), np.float32(36)) + 10 * ((number == 6) | (number == 1))
    spinous = np.maximum(
        np.maximum(ax - 3.6 - 1.5 * (y - canal > 24), (np.abs(tip - 0.5) - 0.27) * height),
        np.maximum(canal + 9 - y, y - canal - reach),
    )
    wing = np.where(cervical, np.float32(24), np.where(lumbar, np.float32(41), np.float32(33)))
    back = np.where(cervical, np.float32(-3), np.where(lumbar, np.float32(0), np.float32(7)))
    transverse = np.hypot((part - 0.38) * height, (y - canal - back - 0.12 * ax)) - np.where(
        cervical, np.float32(4.0), np.float32(4.8)
    )
    transverse = np.maximum(np.maximum(transverse, ax - wing), 9 - ax)
    facet = np.hypot((ax - np.where(cervical, 17.0, 16.0)) / 1.1, (y - canal - 4)) - 6.0
    facet = np.maximum(facet, (np.abs(part - 0.5) - 0.44) * height)
    parts = np.minimum(np.minimum(arch, spinous), np.minimum(transverse, facet)).astype(np.float32)
    inside_canal = np.hypot(ax / 9.8, (y - canal) / 8.3) < 1
    block.bone(np.where(valid & ~inside_canal, parts, np.float32(9)), "vertebrae", 2.4, 650, 240)
    # Atlas and dens differ from the rest.
    atlas = np.maximum(np.abs(np.hypot(ax / 1.25, y - canal + 1) - 15) - 3.2, np.abs(z - 760) - 5.5)
    mass = ellipsoid((ax, y, z), (19, 8, 761), (8, 8, 8))
    dens = tube(block.p, ((0, 6, 735, 6.5), (0, 5.5, 763, 4.5)))
    block.bone(np.minimum(np.minimum(atlas, mass), dens).astype(np.float32), "vertebrae", 2.4, 800, 300)


def ribs(block: Block) -> None:
    """Twelve ribs a side as tubes on the surface of the cage, their cartilages, and the sternum."""
    x, y, z = block.p
    cage = block.cage
    half, front, back = CAGE.at(z, 0), CAGE.at(z, 1), CAGE.at(z, 2)
    near = np.flatnonzero((np.abs(cage + 5) < 9).ravel())
    if not len(near):
        return
    px, py, pz, pc, ph, pf, pb = (a.ravel()[near] for a in (x, y, z, cage, half, front, back))
    angle = np.arctan2(np.abs(px) / ph, (py - (pf + pb) / 2) / ((pb - pf) / 2))
    drop = np.interp(pz, [380, 450, 520, 600, 640], [92, 88, 78, 46, 26]).astype(np.float32)
    bony = np.minimum(angle, 2.35)
    fall = drop * (np.sin(np.clip(bony / 2.35, 0, 1) * np.pi / 2) ** 2 * 0.35 + 0.65 * bony / 2.35)
    rise = np.maximum(angle - np.float32(2.35), 0) * drop * np.float32(0.75)
    u = level(pz + (fall - rise).astype(np.float32) - 6)
    number = np.floor(u) - 6  # 1 for the first rib
    part = u - np.floor(u)
    edges = -np.diff(EDGES)
    spacing = edges[np.clip(number + 6, 0, 23).astype(int)].astype(np.float32)
    across = (part - np.float32(0.5)) * spacing * np.float32(0.82)
    last = np.select([number == 12, number == 11, number == 10], [1.15, 1.7, 2.25], 2.35)
    rib = np.hypot(across / 6.3, (pc + 5) / 4.2) - 1
    is_rib = (number >= 1) & (number <= 12) & (np.abs(px) > 22)
    hard = (rib < 0) & is_rib & (angle < last)
    soft = (
        (np.hypot(across / 6.0, (pc + 5) / 4.0) < 1)
        & is_rib
        & (angle >= last)
        & (number <= 10)
        & (angle < 3.0)
    )
    soft &= (number <= 7) | (angle < 2.75)
    # Between the ribs: intercostal muscle, so that the lung does not touch the fat outside.
    wall = (np.abs(pc + 6) < 4) & (pz > 315)

    def spread(values: ArrayLike) -> NDArray[np.bool_]:
        out = np.zeros(x.size, bool)
        out[near] = values
        return out.reshape(x.shape)

    block.paint(spread(wall), 45)
    block.paint(spread(soft), np.float32(95 + 120 * block.person.age) + np.float32(25) * block.fine)
    shell = np.where(rib < -0.55, np.float32(260), np.float32(760))
    hu = np.zeros(x.size, np.float32)
    hu[near] = shell
    bone = hu.reshape(x.shape)
    block.paint(spread(hard & (px > 0)), bone, "ribs_left")
    block.paint(spread(hard & (px < 0)), bone, "ribs_right")
    width = np.interp(z, [430, 445, 480, 560, 590, 612], [5, 11, 19, 15, 24, 27]).astype(np.float32)
    sternum = np.maximum(np.maximum(np.abs(x) - width, np.abs(cage + 5) - 6), np.maximum(z - 611, 432 - z))
    gap = np.abs(z - 572) < 1.5
    block.bone(np.where((y < 0) & ~gap, sternum, np.float32(9)), "sternum", 2.0, 480, 150)


def shoulders(block: Block, arms: bool, label: str) -> None:
    """Collar bone, shoulder blade and upper arm of one side ("left" or "right")."""
    for side in (1.0 if label == "left" else -1.0,):
        p = block.posed("clavicle_" + label, (side * 80, -40, 622), 0.6)
        q = (p[0] * np.float32(side), p[1], p[2])
        nodes = curve(((15, -57, 609, 9), (48, -58, 614, 6), (95, -28, 620, 5.5), (140, 4, 615, 6.5)), 10)
        block.bone(tube(q, nodes), "clavicle_" + label, 2.5, 950, 250)
        p = block.posed("scapula_" + label, (side * 110, 85, 555), 0.6)
        q = (p[0] * np.float32(side), p[1], p[2])
        medial = ((88.0, 88.0, 605.0, 3.5), (82.0, 102.0, 560.0, 3.5), (92.0, 107.0, 490.0, 4.5))
        lateral = ((135.0, 38.0, 600.0, 4.5), (136.0, 52.0, 570.0, 4.5), (97.0, 104.0, 488.0, 5.0))
        blade = plate(q, medial, lateral, 24)
        ridge = tube(q, ((84, 104, 582, 3.5), (120, 92, 596, 5), (158, 48, 612, 5.5), (152, 12, 618, 5)))
        socket = smooth_union(tube(q, ((140, 34, 590, 10), (146, 26, 586, 13))), ridge, 3)
        coracoid = tube(q, ((136, 22, 604, 7), (134, -8, 603, 5)))
        block.bone(np.minimum(np.minimum(blade, socket), coracoid), "scapula_" + label, 2.5, 850, 200)
        p = block.posed("humerus_" + label, (side * 172, 8, 588), 0.5)
        q = (p[0] * np.float32(side), p[1], p[2])
        shaft: Nodes = ((162.0, 10.0, 590.0, 21.0), (170.0, 8.0, 580.0, 18.0), (173.0, 6.0, 568.0, 13.0))
        if arms:
            shaft += ((205.0, 8.0, 480.0, 11.0), (216.0, 12.0, 345.0, 11.0), (216.0, 10.0, 318.0, 16.0))
        block.bone(tube(q, curve(shaft, 10)), "humerus_" + label, 2.6, 950, 180)
        if arms:
            for offset in (-11.0, 12.0):
                bone = tube(
                    q, ((216 + offset, 6, 308, 8), (216 + offset, -12, 200, 6), (208 + offset, -26, 95, 7))
                )
                block.bone(bone, None, 3.0, 1100, 60)
            for finger in (-12.0, -4.0, 4.0, 12.0):
                block.bone(
                    tube(q, ((204, -34 + finger, 80, 4), (199, -40 + finger, 15, 3.5))), None, 2.0, 800, 200
                )


def pelvis(block: Block) -> None:
    """Sacrum, hip bones with wings, sockets and pubic arch, and the thigh bones."""
    x, y, z = block.p
    ax = np.abs(x)
    middle = spine_y(z)
    width = np.interp(z, [42, 60, 110, 150, 174], [6, 12, 36, 52, 50]).astype(np.float32)
    thick = np.interp(z, [42, 60, 110, 150, 174], [4, 6, 10, 17, 20]).astype(np.float32)
    bow = ax * ax * np.float32(0.004)
    sacrum = (
        np.maximum(np.hypot(ax / width, (y - middle - bow) / thick) - 1, (np.abs(z - 107) - 64) / 20) * thick
    )
    holes = (np.hypot(ax - 20, (((z - 60) % 24) - 12)) < 4.5) & (z > 78) & (z < 160)
    canal = (np.hypot(x / 9, (y - canal_y(z) + 5) / 6) < 1) & (z > 100)
    block.bone(np.where(holes | canal, np.float32(5), sacrum), "sacrum", 2.2, 520, 160)
    for side, label in ((1.0, "left"), (-1.0, "right")):
        mine = (x * np.float32(side)) > 0
        p = block.posed("hip_" + label, (side * 85, 0, 100), 0.25)
        q = (p[0] * np.float32(side), p[1], p[2])
        wing = plate(q, _CREST, _BRIM, 30)
        arch = np.minimum(tube(q, _ISCHIUM), tube(q, _PUBIS))
        thigh_head = np.sqrt((q[0] - 88) ** 2 + (q[1] + 5) ** 2 + (q[2] - 66) ** 2)
        socket = np.maximum(
            np.abs(thigh_head - 27) - 4.5, np.maximum((q[0] - 92) * 0.8 - (q[2] - 66) * 0.6 - 6, -9)
        )
        hip = smooth_union(smooth_union(wing, arch, 8), socket.astype(np.float32), 5)
        hip = np.maximum(hip, np.float32(25.5) - thigh_head - 1)
        block.bone(np.where(mine, hip, np.float32(9)), "hip_" + label, 2.6, 800, 230)
        p = block.posed("femur_" + label, (side * 88, -5, 66), 0.25)
        q = (p[0] * np.float32(side), p[1], p[2])
        head = ellipsoid(q, (88, -5, 66), (23, 23, 23))
        neck = tube(q, ((92, -4, 62, 15), (116, 3, 42, 15)))
        shaft = tube(
            q, curve(((122, 10, 46, 13), (120, 8, 15, 19), (116, 2, -25, 15), (108, -4, -160, 14)), 8)
        )
        trochanter = ellipsoid(q, (130, 14, 48), (13, 16, 19))
        femur = smooth_union(smooth_union(head, neck, 7), smooth_union(shaft, trochanter, 9), 9)
        marrow = np.where(q[2] < 0, np.float32(-30), np.float32(260))
        depth = np.where(q[2] < 0, np.float32(6), np.float32(3))
        cortex = np.float32(1250) - np.float32(350) * (q[2] > 0)
        inner = np.clip(-femur / depth - 0.6, 0, 1)
        block.paint(femur < 0, cortex * (1 - inner) + marrow * inner, "femur_" + label)


_CREST = (
    (42.0, 88.0, 140.0, 9.0), (46.0, 84.0, 175.0, 7.0), (78.0, 66.0, 206.0, 4.5), (112.0, 30.0, 219.0, 4.5),
    (128.0, -12.0, 208.0, 5.5), (124.0, -52.0, 182.0, 6.5), (108.0, -52.0, 128.0, 7.0),
)  # fmt: skip
_BRIM = (
    (58.0, 62.0, 112.0, 8.0), (56.0, 55.0, 130.0, 7.0), (64.0, 38.0, 122.0, 6.5), (78.0, 20.0, 106.0, 8.0),
    (88.0, 2.0, 98.0, 9.0), (92.0, -14.0, 94.0, 9.0), (94.0, -24.0, 90.0, 9.0),
)  # fmt: skip
_ISCHIUM = (
    (84.0, 20.0, 70.0, 13.0), (70.0, 36.0, 35.0, 12.0), (56.0, 38.0, 6.0, 12.0), (46.0, 18.0, 2.0, 7.0),
    (24.0, -26.0, 22.0, 6.0),
    (9.0, -44.0, 34.0, 7.0),
)  # fmt: skip
_PUBIS = (
    (80.0, -22.0, 72.0, 10.0),
    (50.0, -45.0, 68.0, 6.5),
    (22.0, -54.0, 56.0, 7.5),
    (9.0, -50.0, 42.0, 8.0),
)
