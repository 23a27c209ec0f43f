"""Import segment-anything's model classes, with or without torchvision.

``import segment_anything`` imports its predictor and its automatic mask generator, and those import
torchvision, which its wheel does not declare and which does not fit every build of torch (with PyPI's CUDA
build beside a CPU torch even the import fails). The networks need none of that. So the package is imported
normally where that works; elsewhere its ``build_sam`` and ``modeling`` are imported under a private name whose path
is the installed folder, bypassing its ``__init__``. ``sys.modules["segment_anything"]`` stays as it was: a user who
repairs torchvision gets the real package.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from medlsam.errors import UsageError

_PACKAGE = "segment_anything"
_PRIVATE = f"{__package__}._segment_anything"


@dataclass(frozen=True)
class SamParts:
    """The modules of segment-anything that medlsam uses.

    Attributes:
        build_sam: module of that name (``sam_model_registry``).
        modeling: module of that name (``PromptEncoder``, ``MaskDecoder``, ``TwoWayTransformer``, ...).
        how: ``package`` where ``import segment_anything`` works, ``parts`` where it was bypassed.
        reason: explanation for ``medlsam info``.
    """

    build_sam: Any
    modeling: Any
    how: Literal["package", "parts"]
    reason: str


@cache
def sam_parts() -> SamParts:
    """Import segment-anything's networks.

    Raises:
        UsageError: segment-anything is not installed.
    """
    before = set(sys.modules)
    try:
        import_module(_PACKAGE)
        return _parts(_PACKAGE, "package", "import segment_anything works")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        # a torchvision that does not fit torch raises RuntimeError or OSError, half imported AttributeError
        why = f"import segment_anything fails ({type(error).__name__}: {error})"
    for name in set(sys.modules) - before:  # modules imported before the error
        if name.partition(".")[0] == _PACKAGE:
            del sys.modules[name]
    installed = find_spec(_PACKAGE)
    if installed is None or not installed.submodule_search_locations:
        raise UsageError("segment-anything is not installed: pip install segment-anything==1.0")
    package = ModuleType(_PRIVATE)
    package.__path__ = list(installed.submodule_search_locations)
    sys.modules[_PRIVATE] = package
    return _parts(_PRIVATE, "parts", f"{why}; its networks do not need that")


def _parts(package: str, how: Literal["package", "parts"], reason: str) -> SamParts:
    build_sam, modeling = (import_module(f"{package}.{name}") for name in ("build_sam", "modeling"))
    return SamParts(build_sam, modeling, how, reason)
