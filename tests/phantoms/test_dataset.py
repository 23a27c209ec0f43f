"""Phantoms as files: only the structures that are asked for are labelled, numbered from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.phantoms import phantom
from medlsam.phantoms.dataset import write_phantoms


@pytest.mark.parametrize("count", [1, 3])
def test_scans_and_labels_are_those_of_the_phantom(tmp_path: Path, count: int) -> None:
    """Of one person in this process, of three in processes of their own."""
    people = [
        (n, tmp_path / "scans" / f"{n}.nii.gz", tmp_path / "labels" / f"{n}.nii.gz") for n in range(count)
    ]
    write_phantoms(people, ("spleen", "liver"), (380.0, 460.0), (8.0, 8.0, 8.0))
    for seed, image, labels in people:
        made = phantom(seed, (8.0, 8.0, 8.0), (380.0, 460.0))
        values = {name: value for value, name in made.names.items()}
        np.testing.assert_array_equal(read_image(image).array, made.image.array)
        found = read_label_map(labels).array
        assert set(np.unique(found)) == {0, 1, 2}
        for number, name in ((1, "spleen"), (2, "liver")):
            np.testing.assert_array_equal(found == number, made.labels.array == values[name])
