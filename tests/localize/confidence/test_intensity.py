"""Intensities inside of a box: as the templates', or of whatever fills the place of an organ that was taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Box
from medlsam.localize.confidence.intensity import core_places, intensity_distance, spread_inside
from medlsam.localize.network.embedding import embed
from medlsam.localize.network.encoder import Encoder, EncoderConfig, normalise_hu
from medlsam.localize.templates.template_set import StructureTemplate
from medlsam.phantoms import phantom

BOX = Box((-20, -30, -40), (20, 30, 40))
SHAPE = np.zeros((32, 32, 32), np.float32)
SHAPE[4:28, 4:28, 4:28] = 1


@dataclass
class Flat:
    """A scan of one intensity in a box and another around it."""

    inner: float
    outer: float = 0.2

    def intensities(self, points: ArrayLike | Tensor) -> NDArray[np.float32]:
        places = np.asarray(points, dtype=float)
        inside = ((places > BOX.min) & (places < BOX.max)).all(axis=-1)
        return np.where(inside, self.inner, self.outer).astype(np.float32)


class Blind:
    """A localizer that keeps no intensities."""

    def intensities(self, points: ArrayLike | Tensor) -> None:
        return None


def structure(scan: object) -> StructureTemplate:
    none = np.zeros(0, np.float32)
    mask = (SHAPE * 255).astype(np.uint8)
    inside = spread_inside(scan, SHAPE, BOX)  # type: ignore[arg-type]
    return StructureTemplate(
        "s", none, none, none, none, none, none, mask, none, none, none, inside, none, none
    )  # type: ignore[arg-type]


def test_core_places_lie_well_inside() -> None:
    places = core_places(SHAPE, BOX)
    assert len(places) > 100
    assert (np.abs(places) < 0.75 * np.asarray(BOX.max)).all()
    assert np.allclose(places.mean(axis=0), 0, atol=1e-6)


def test_a_scan_that_holds_something_else_is_unlike() -> None:
    templates = [structure(Flat(0.5)), structure(Flat(0.6))]
    assert intensity_distance(Flat(0.6), templates, BOX) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
    assert intensity_distance(Flat(0.3), templates, BOX) == pytest.approx(0.2, abs=1e-6)  # type: ignore[arg-type]


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert intensity_distance(Flat(0.5), [structure(Blind())], BOX) is None  # type: ignore[arg-type]
    assert intensity_distance(Blind(), [structure(Flat(0.5))], BOX) is None  # type: ignore[arg-type]


def test_an_embedding_keeps_what_the_encoder_was_given() -> None:
    scan = phantom(1, (4.0, 4.0, 4.0), (600.0, 700.0)).image
    config = EncoderConfig(channels=(4, 4, 4, 4), blocks=(1, 1, 1, 1), fine_channels=4, feature_dim=4)
    found = embed(scan, Encoder(config).eval())
    middle = tuple(n // 2 for n in scan.array.shape)
    place = np.asarray(scan.grid.origin_xyz) + 4.0 * np.asarray(middle[::-1])
    told = found.intensities(place[None])
    wanted = normalise_hu(torch.tensor(float(scan.array[middle])), config)
    assert told is not None
    assert told[0] == pytest.approx(float(wanted), abs=0.02)
