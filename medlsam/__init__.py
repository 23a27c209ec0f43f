"""Localize and segment the structures of a few template CT scans in any number of other scans.

    import medlsam

    model = medlsam.load()
    templates = model.templates("templates/")
    result = model.segment("scan.nii.gz", templates)

Points and boxes are LPS millimetres, arrays are (Z, Y, X) in HU. The names below are the public interface;
they are imported when they are first used, so that ``import medlsam`` is quick and needs no torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlsam.batch import localize_folder, segment_folder
    from medlsam.errors import MedlsamError
    from medlsam.evaluate import evaluate
    from medlsam.geometry import Box, ExtremePoints, Grid
    from medlsam.localize.templates import TemplateSet
    from medlsam.phantom import phantom
    from medlsam.pipeline import MedLSAM, load
    from medlsam.results import Localization, LocatedOrgan, Segmentation
    from medlsam.segment.finetune import finetune
    from medlsam.volume import Volume, read_volume, write_volume

__version__ = "0.1.0"

__all__ = [
    "Box",
    "ExtremePoints",
    "Grid",
    "Localization",
    "LocatedOrgan",
    "MedLSAM",
    "MedlsamError",
    "Segmentation",
    "TemplateSet",
    "Volume",
    "__version__",
    "evaluate",
    "finetune",
    "load",
    "localize_folder",
    "phantom",
    "read_volume",
    "segment_folder",
    "write_volume",
]

_HOME = {
    "Box": "medlsam.geometry",
    "ExtremePoints": "medlsam.geometry",
    "Grid": "medlsam.geometry",
    "Localization": "medlsam.results",
    "LocatedOrgan": "medlsam.results",
    "MedLSAM": "medlsam.pipeline",
    "MedlsamError": "medlsam.errors",
    "Segmentation": "medlsam.results",
    "TemplateSet": "medlsam.localize.templates",
    "Volume": "medlsam.volume",
    "evaluate": "medlsam.evaluate",
    "finetune": "medlsam.segment.finetune",
    "load": "medlsam.pipeline",
    "localize_folder": "medlsam.batch",
    "phantom": "medlsam.phantom",
    "read_volume": "medlsam.volume",
    "segment_folder": "medlsam.batch",
    "write_volume": "medlsam.volume",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medlsam' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps ``medlsam.phantom`` and ``medlsam.evaluate`` the functions, whatever is imported first.

    Both functions live in modules of their own name, and Python sets a module as an attribute of its package
    when it is first imported. ``from medlsam.phantom import ...`` reaches into the module as usual.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
