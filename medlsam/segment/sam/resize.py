"""A grey picture in another size, as three libraries do it without which the models were not trained.

Weights know the resizing of their training. These give the values of Pillow, OpenCV and scikit-image without needing
those libraries: pictures are (H, W) uint8, sizes (height, width), results float32 on the same 0..255.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.uint8]


def bilinear(picture: Picture, size: tuple[int, int]) -> NDArray[np.float32]:
    """``PIL.Image.resize(..., BILINEAR)``: whole grey levels, anti-aliased where it shrinks."""
    # On bytes torch computes in Pillow's fixed point; the same of floats differs by a level in a quarter of the pixels.
    pixels = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
    resized = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)


def area(picture: Picture, size: tuple[int, int]) -> NDArray[np.float32]:
    """``cv2.resize(..., INTER_AREA)``: the mean of what a new pixel covers, in whole grey levels."""
    rows, columns = (_overlaps(old, new) for old, new in zip(picture.shape, size, strict=True))
    # The sums are whole numbers, so that halves are halves and not a little less.
    means = (rows @ picture.astype(np.float64) @ columns.T) / (picture.shape[0] * picture.shape[1])
    return np.asarray(np.floor(means + 0.5), dtype=np.float32)


def spline(picture: Picture, size: tuple[int, int]) -> NDArray[np.float32]:
    """``skimage.transform.resize(..., order=3, preserve_range=True, anti_aliasing=True)``: no whole levels."""
    pixels = picture.astype(np.float64)
    zoom = np.array(size) / picture.shape
    blur = np.maximum(0.0, (1 / zoom - 1) / 2)
    if (blur > 0).any():
        pixels = ndimage.gaussian_filter(pixels, blur, mode="mirror")
    pixels = ndimage.zoom(pixels, zoom, order=3, mode="mirror", grid_mode=True)
    # the overshoot beside edges goes, as there
    return np.asarray(np.clip(pixels, picture.min(), picture.max()), dtype=np.float32)


def _overlaps(old: int, new: int) -> NDArray[np.float64]:
    """How much of each of ``old`` pixels lies in each of ``new`` ones, (new, old), in units of 1/(old * new).

    Each row sums to ``old``.
    """
    of_new, of_old = np.arange(new)[:, None] * old, np.arange(old)[None] * new
    shared = np.minimum(of_new + old, of_old + new) - np.maximum(of_new, of_old)
    return np.asarray(np.maximum(shared, 0), dtype=np.float64)
