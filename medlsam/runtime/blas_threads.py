"""Keep numpy's matrix products on one thread: several round differently, so results would depend on the machine.

OpenBLAS splits a product into one block per thread, and sums in another order at a block's edge than inside. The number
of threads depends on the cores and on ``OMP_NUM_THREADS``, which clusters set for their workers. The differing bits
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

#: Prefix and suffix of the same two functions in the numpy of pip, of conda and of Linux distributions.
_AFFIXES = (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", ""))

# ``openblas_get_parallel`` returns this for a library built with OpenMP.
_OPENMP = 2

# State of the whole process, like OpenBLAS' own number of threads.
_lock = threading.Lock()
_inside = 0
_usual = 1


class OpenBlas(NamedTuple):
    """Getter and setter of the number of threads that numpy's OpenBLAS uses for a product."""

    get: Callable[[], int]
    set: Callable[[int], object]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit numpy's products to one thread while the block runs; also a decorator, ``@one_blas_thread()``.

    Blocks may be nested and may overlap in several threads: the end of the last one restores the usual number.
    torch has threads of its own (``torch.set_num_threads``). Has no effect where numpy uses another BLAS than OpenBLAS,
    or one built with OpenMP, whose threads torch may share.
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
    """Find numpy's OpenBLAS; None where numpy uses another library (MKL, Apple's) or none can be found."""
    module = importlib.import_module("numpy._core._multiarray_umath").__file__
    try:
        # The lookup covers the libraries that the module is linked to, so it finds numpy's, wherever it lies.
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
