"""numpy's matrix products on one thread: on several they round otherwise, and a result would depend on the machine.

OpenBLAS cuts a product into one block a thread, and sums at a block's edge in another order than inside. How many
threads it has is a matter of cores and of ``OMP_NUM_THREADS``, which a cluster's workers find set. The bits that differ
grow: a network that computes in bfloat16 turns them into hundredths of a millimetre.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

#: What pip's numpy, conda's and a distribution's call the same two functions.
_AFFIXES = (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", ""))

# What ``openblas_get_parallel`` says of such a library.
_OPENMP = 2

# Of the whole process, as OpenBLAS' own number of threads is.
_lock = threading.Lock()
_inside = 0
_usual = 1


class OpenBlas(NamedTuple):
    """How many threads numpy's OpenBLAS takes for a product: asked, and told."""

    get: Callable[[], int]
    set: Callable[[int], object]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy multiply on one thread while the block runs; also a decorator, ``@one_blas_thread()``.

    Blocks may be nested and may overlap in several threads: the usual number comes back with the last one's end.
    torch's threads are its own (``torch.set_num_threads``). Nothing is done where numpy has another BLAS than OpenBLAS,
    or one that is built with OpenMP, whose threads torch may share.
    """
    global _inside, _usual
    library = numpy_blas()
    if library is None:
        yield
        return
    with _lock:
        if _inside == 0:
            _usual = library.get()
            library.set(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                library.set(_usual)


@cache
def numpy_blas() -> OpenBlas | None:
    """numpy's OpenBLAS; None where numpy has another library (MKL, Apple's), or the system does not tell."""
    module = importlib.import_module("numpy._core._multiarray_umath").__file__
    try:
        # Names are looked up in what the module is linked to as well, so wherever the library lies, it is numpy's.
        linked = ctypes.CDLL(module)
    except OSError:
        return None
    for prefix, suffix in _AFFIXES:
        try:
            get = linked[f"{prefix}openblas_get_num_threads{suffix}"]
            if linked[f"{prefix}openblas_get_parallel{suffix}"]() == _OPENMP:
                return None
            return OpenBlas(get, linked[f"{prefix}openblas_set_num_threads{suffix}"])
        except AttributeError:
            continue
    return None
