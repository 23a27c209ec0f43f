"""Results do not depend on how many threads numpy multiplies with: a cluster's workers find another number set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.locate import locate
from medlsam.options import InferenceOptions
from medlsam.pipeline.segment import segment_located
from medlsam.runtime.blas_threads import OpenBlas, numpy_blas, one_blas_thread
from medlsam.volume import Image, resample
from medlsam.volume.resample_separable import resample_parallel


@pytest.fixture
def openblas() -> Iterator[OpenBlas]:
    """numpy's library, whose number of threads is put back at the end."""
    library = numpy_blas()
    if library is None:
        pytest.skip("numpy has another BLAS here")
    before = library.get()
    yield library
    library.set(before)


def test_resampling_is_the_same_bytes_with_any_number_of_threads(openblas: OpenBlas) -> None:
    source, target = Grid((24, 192, 192), (1.3, 1.1, 2.0)), Grid((12, 53, 62), (4.0, 4.0, 4.0))
    array = np.random.default_rng(0).integers(-1000, 1500, source.shape_zyx, dtype=np.int16)
    undecorated = resample_parallel.__wrapped__  # type: ignore[attr-defined]
    ours, bare = set(), set()
    for threads in (1, 2, 3):
        openblas.set(threads)
        ours.add(resample(Image(array, source), target).array.tobytes())
        bare.add(undecorated(array, source, target, (1, 1, 1), [0, 1, 2], -1024.0).tobytes())
        assert openblas.get() == threads
    assert len(ours) == 1
    if len(bare) == 1:
        pytest.skip("this OpenBLAS rounds the same with any number of threads, so nothing was shown")


class SeenError(Exception):
    """Tells how many threads numpy had where it was raised."""


def test_what_makes_results_multiplies_on_one_thread(
    openblas: OpenBlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked inside of each of them; resampling is above."""

    def look(*_: object, **__: object) -> None:
        raise SeenError(openblas.get())

    def templates() -> Iterator[Template]:
        look()
        yield from ()

    monkeypatch.setattr("medlsam.localize.locate.consensus", look)
    monkeypatch.setattr("medlsam.pipeline.segment.to_canonical", look)
    nothing: Any = SimpleNamespace(structures=("a",), by_structure={"a": ()}, anchors={})
    calls: list[Callable[[], object]] = [
        lambda: locate(nothing, nothing),
        lambda: segment_located(nothing, nothing, nothing, {}, InferenceOptions()),
        lambda: build_templates(nothing, templates(), {}),
    ]
    for call in calls:
        openblas.set(2)
        with pytest.raises(SeenError, match="^1$"):
            call()


def test_the_usual_number_comes_back_with_the_last_block(openblas: OpenBlas) -> None:
    openblas.set(2)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        assert openblas.get() == 1
        thread.start()
        entered.wait(10)
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
    assert openblas.get() == 1
    leave.set()
    thread.join()
    assert openblas.get() == 2
