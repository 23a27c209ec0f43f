"""The file of a scan's pictures: what is no picture, or no longer of these masks, does not pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medlsam.errors import GeometryError, VolumeError
from medlsam.export.thumbnails.file import (
    THUMBNAILS_FILE,
    draw_thumbnails,
    read_thumbnails,
    try_thumbnails,
    write_thumbnails,
)
from medlsam.export.thumbnails.projections import draw_projections
from medlsam.geometry import Box, Grid, mask_box
from medlsam.io.write import write_volume
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap
from tests.support.fakes.stub_model import draw_ct, true_mask

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


@pytest.fixture
def made(tmp_path: Path) -> tuple[Segmentation, Image]:
    """A block that was found, a ghost that is not there, an empty mask."""
    image = draw_ct(GRID)
    labels = LabelMap(np.where(true_mask(image, "block"), 7, 0).astype(np.uint16), GRID)
    box = mask_box(labels.array == 7, GRID)
    structures = {
        "<block>": LocatedStructure("<block>", "found", 0.9, box=box),
        "ghost": LocatedStructure("ghost", "missing", 0.1),
        "empty": LocatedStructure("empty", "uncertain", 0.2, box=box),
    }
    write_volume(labels, tmp_path / "segmentation.nii.gz")
    names = {7: "<block>", 300: "ghost", 9: "empty"}
    return Segmentation("a", labels, names, Localization("a", structures)), image


def test_there_and_back(made: tuple[Segmentation, Image], tmp_path: Path) -> None:
    write_thumbnails(*made, tmp_path)
    found = read_thumbnails(tmp_path)
    assert set(found.structures) == {"<block>"}, "only what has a voxel"
    assert found.legend == ("<block>", "empty")
    assert found.boxes is not None
    first = (tmp_path / THUMBNAILS_FILE).read_bytes()
    write_thumbnails(*made, tmp_path)
    assert (tmp_path / THUMBNAILS_FILE).read_bytes() == first, "the same again"
    assert len(first) < 60_000


def test_pictures_of_masks_that_were_changed_do_not_pass(
    made: tuple[Segmentation, Image], tmp_path: Path
) -> None:
    write_thumbnails(*made, tmp_path)
    write_volume(LabelMap(np.ones(GRID.shape_zyx, np.uint8), GRID), tmp_path / "segmentation.nii.gz")
    with pytest.raises(VolumeError, match="changed after its pictures were made"):
        read_thumbnails(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("webp", 'UklGRAAA" onerror="alert(1)'),
        ("webp", "UklGR</script>"),
        ("webp", "PHN2Zz4="),
        ("webp", 5),
        ("width", "9999px"),
        ("width", True),
        ("height", -1),
        ("height", 10**9),
    ],
)
def test_what_is_no_picture_does_not_pass(
    made: tuple[Segmentation, Image], tmp_path: Path, key: str, value: object
) -> None:
    write_thumbnails(*made, tmp_path)
    content = json.loads((tmp_path / THUMBNAILS_FILE).read_text())
    content["structures"]["<block>"][key] = value
    (tmp_path / THUMBNAILS_FILE).write_text(json.dumps(content))
    with pytest.raises(VolumeError, match="thumbnails.json: cannot be read"):
        read_thumbnails(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "structures": []}'])
def test_a_damaged_file_is_named(made: tuple[Segmentation, Image], tmp_path: Path, text: str) -> None:
    with pytest.raises(VolumeError, match="there is none"):
        read_thumbnails(tmp_path)
    (tmp_path / THUMBNAILS_FILE).write_text(text)
    with pytest.raises(VolumeError, match="thumbnails.json: cannot be read"):
        read_thumbnails(tmp_path)


def test_drawing_that_fails_is_a_warning_and_a_full_disk_is_not(
    made: tuple[Segmentation, Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> None:
        def draw(*arguments: object) -> None:
            raise error

        monkeypatch.setattr("medlsam.export.thumbnails.file.draw_projections", draw)

    fails(ZeroDivisionError("no ray"))
    assert try_thumbnails(*made, tmp_path) == ["no pictures for the report: ZeroDivisionError: no ray"]
    fails(OSError("no space"))
    with pytest.raises(OSError, match="no space"):
        try_thumbnails(*made, tmp_path)


def test_scan_and_masks_lie_on_one_grid(made: tuple[Segmentation, Image]) -> None:
    found, image = made
    other = Image(image.array, Grid(GRID.shape_zyx, GRID.spacing_xyz, (90.0, 0.0, 0.0), GRID.direction))
    with pytest.raises(GeometryError, match="no longer lies on the grid"):
        draw_thumbnails(other, found.labels, {"<block>": 7}, found.localization)


def test_a_box_that_is_not_the_masks_is_no_reason_to_miss_it(made: tuple[Segmentation, Image]) -> None:
    """As earlier versions wrote it: ``box`` as located, far from the mask."""
    found, image = made
    away = LocatedStructure("<block>", "found", 0.9, box=Box((-50, -60, 5), (-40, -50, 9)))
    localization = Localization("a", {"<block>": away})
    values = {"<block>": 7}
    assert not draw_thumbnails(image, found.labels, values, localization).structures
    assert draw_thumbnails(image, found.labels, values, localization, search=True).structures


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 300, 3), (200, 2, 2)])
def test_projections_of_any_shape(shape: tuple[int, int, int]) -> None:
    grid = Grid(shape, (0.7, 0.9, 5.0))
    structure = LocatedStructure("all", "uncertain", 0.4, box=grid.box)
    picture = draw_projections(Image(np.zeros(shape, np.int16), grid), [structure] * 12)
    assert picture.width <= 2 * 240 + 2
    assert 0 < picture.height <= 260
