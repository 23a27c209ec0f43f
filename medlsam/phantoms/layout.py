"""Where things lie in the reference body: mm, x to the left, y to the back, z = 0 at the sitting plane."""

from __future__ import annotations

import numpy as np

from medlsam.phantoms.shapes import Array, Coordinates, Profile

NAMES = (
    "brain", "brainstem", "spinal_cord", "skull", "mandible", "eye_left", "eye_right",
    "parotid_left", "parotid_right", "larynx", "trachea", "thyroid", "esophagus",
    "lung_left", "lung_right", "heart", "aorta", "inferior_vena_cava", "liver", "gallbladder",
    "spleen", "pancreas", "stomach", "kidney_left", "kidney_right", "small_bowel", "colon", "rectum",
    "bladder", "prostate", "vertebrae", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right",
    "sternum", "ribs_left", "ribs_right", "clavicle_left", "clavicle_right", "scapula_left",
    "scapula_right", "humerus_left", "humerus_right", "psoas_left", "psoas_right",
)  # fmt: skip
VALUES = {name: value for value, name in enumerate(NAMES, start=1)}

# Heights covered by each named region.
REGIONS = {
    "body": (-85.0, 935.0),
    "head-neck": (590.0, 935.0),
    "thorax": (385.0, 670.0),
    "abdomen": (180.0, 470.0),
    "pelvis": (-85.0, 235.0),
}

# Skin of trunk and neck at average build: z, half width, front y, back y, squareness.
SKIN = Profile([
    (-50, 30, -45, 60, 2.0), (-25, 100, -70, 88, 2.3), (5, 152, -86, 106, 2.6), (30, 168, -94, 112, 2.7),
    (70, 178, -102, 118, 2.6), (120, 177, -108, 116, 2.5),
    (170, 166, -110, 108, 2.4), (220, 152, -112, 103, 2.4), (260, 147, -113, 102, 2.4),
    (330, 149, -113, 107, 2.4), (400, 155, -115, 117, 2.5), (470, 163, -116, 126, 2.6),
    (530, 172, -110, 130, 2.6), (560, 195, -99, 128, 2.6), (585, 207, -86, 122, 2.6),
    (605, 204, -82, 116, 2.5),
    (622, 178, -76, 110, 2.4), (640, 122, -63, 101, 2.1), (658, 78, -50, 90, 2.0), (680, 66, -47, 80, 2.0),
    (710, 62, -48, 76, 2.0), (750, 60, -50, 78, 2.0), (790, 56, -50, 76, 2.0),
])  # fmt: skip

# Thickness of the fat under the skin at average build, mm.
FAT = Profile([
    (-100, 12, 0, 1, 2), (60, 20, 0, 1, 2), (200, 18, 0, 1, 2), (330, 13, 0, 1, 2), (470, 9, 0, 1, 2),
    (590, 8, 0, 1, 2),
    (680, 5, 0, 1, 2), (930, 3.5, 0, 1, 2),
])  # fmt: skip

# Outer surface of the rib cage.
CAGE = Profile([
    (310, 130, -98, 88, 2.3), (360, 135, -100, 98, 2.3), (400, 138, -100, 104, 2.3),
    (440, 138, -98, 110, 2.3),
    (500, 132, -93, 112, 2.3), (560, 116, -80, 108, 2.3), (600, 92, -62, 98, 2.3), (625, 66, -40, 86, 2.2),
    (648, 34, -6, 66, 2.0),
])  # fmt: skip

# Inside of the abdominal and pelvic wall.
CAVITY = Profile([
    (15, 30, -30, 45, 2.0), (50, 52, -60, 62, 2.0), (100, 66, -80, 72, 2.2), (150, 92, -92, 58, 2.3),
    (200, 116, -96, 48, 2.3),
    (260, 126, -98, 58, 2.4), (330, 127, -98, 80, 2.4), (400, 126, -90, 92, 2.4), (450, 126, -86, 98, 2.4),
])  # fmt: skip

# Face and jaw, in front of the neck.
FACE = Profile([
    (684, 14, -86, -40, 2.0), (690, 32, -93, -20, 2.2), (700, 48, -98, 10, 2.3), (715, 58, -100, 34, 2.4),
    (735, 65, -101, 46, 2.4), (760, 70, -101, 50, 2.4), (785, 72, -103, 50, 2.3), (812, 70, -106, 40, 2.2),
])  # fmt: skip

_SPINE = Profile([
    (30, 1, 0, 66, 2), (60, 1, 0, 80, 2), (100, 1, 0, 86, 2), (140, 1, 0, 66, 2), (170, 1, 0, 42, 2),
    (190, 1, 0, 32, 2),
    (240, 1, 0, 22, 2), (300, 1, 0, 22, 2), (380, 1, 0, 38, 2), (450, 1, 0, 52, 2), (520, 1, 0, 58, 2),
    (580, 1, 0, 51, 2),
    (640, 1, 0, 28, 2), (665, 1, 0, 15, 2), (700, 1, 0, 5, 2), (735, 1, 0, 3, 2), (770, 1, 0, 6, 2),
])  # fmt: skip

# Vertebral bodies: half width (column 0), half depth (column 2) at each height.
_BODY = Profile([
    (170, 25, 0, 18, 2), (240, 24, 0, 17.5, 2), (350, 20, 0, 16, 2), (480, 15.5, 0, 14.5, 2),
    (600, 14, 0, 12, 2),
    (650, 13, 0, 9.5, 2), (690, 11.5, 0, 8.5, 2), (768, 11, 0, 8, 2),
])  # fmt: skip

# Upper edges of C1 to L5, then the upper edge of the sacrum.
EDGES = np.array(
    [
        768,
        752,
        728,
        711,
        694,
        678,
        662,
        645,
        625,
        604,
        583,
        561,
        538,
        514,
        490,
        465,
        439,
        412,
        383,
        352,
        317,
        281,
        245,
        208,
        172,
    ],
    dtype=float,
)


def spine_y(z: Array) -> Array:
    """y of the middle of the vertebral bodies at heights z."""
    return _SPINE.at(z, 2)


def body_radii(z: Array) -> tuple[Array, Array]:
    """Half width and half depth of the vertebral bodies at heights z."""
    return _BODY.at(z, 0), _BODY.at(z, 2)


def canal_y(z: Array) -> Array:
    """y of the middle of the spinal canal at heights z."""
    return np.asarray(spine_y(z) + _BODY.at(z, 2) + np.float32(8.5), dtype=np.float32)


def level(z: Array) -> Array:
    """Vertebral level, growing downwards: 0 to 1 in C1, 7 to 8 in T1, 19 to 20 in L1, 24 at the sacrum."""
    knots = np.arange(EDGES[-1] - 30, EDGES[0] + 30)
    table = np.interp(-knots, -EDGES, np.arange(len(EDGES), dtype=float), left=-1, right=24.99)
    index = np.clip(z - np.float32(knots[0]), 0, len(knots) - 1)
    low = np.minimum(index.astype(np.int32), len(knots) - 2)
    fraction = index - low
    lut = table.astype(np.float32)
    return np.asarray(lut[low] * (1 - fraction) + lut[low + 1] * fraction, dtype=np.float32)


def diaphragm(p: Coordinates, low: Array, breath_mm: float) -> Array:
    """z of the diaphragm: two domes, the right one higher, falling to the costal margin."""
    x, y, _ = p
    breath = np.float32(breath_mm)
    deep = ((y - 2) / 100) ** 2
    right, left = ((x + 66) / 70) ** 2 + deep, ((x - 66) / 70) ** 2 + deep
    right = np.minimum(right, np.float32(1.35))
    left = np.minimum(left, np.float32(1.35))
    dome_right = np.float32(454) + breath - 112 * right * right
    dome_left = np.float32(440) + breath - 108 * left * left
    # Between the domes lies the flat central tendon under the heart.
    tendon = np.where(np.abs(x) < 45, np.float32(412) + breath, np.float32(-999))
    dome = np.maximum(np.maximum(dome_right, dome_left), tendon)
    return np.asarray(dome - np.maximum(y, 0) * np.float32(0.15) + 7 * low, dtype=np.float32)
