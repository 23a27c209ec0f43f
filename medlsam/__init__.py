"""Localize and segment the structures of a few template CT scans in any number of other scans.

    import medlsam

    model = medlsam.load()
    templates = model.templates("templates/")
    result = model.segment("scan.nii.gz", templates)

Points and boxes are LPS millimetres, arrays are (Z, Y, X) in HU. The names below are the public interface;
they are imported when they are first used, so that ``import medlsam`` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlsam.batch import localize_folder, segment_folder
    from medlsam.errors import MedlsamError
    from medlsam.evaluation.run import evaluate
    from medlsam.geometry import Box, ExtremePoints, Grid
    from medlsam.io.read import read_volume
    from medlsam.io.write import write_volume
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.phantoms import phantom
    from medlsam.pipeline.model import MedLSAM, load
    from medlsam.results import Localization, LocatedOrgan, Segmentation
    from medlsam.segment.finetune.run import finetune
    from medlsam.volume import Volume

from medlsam._version import __version__

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
    "MedLSAM": "medlsam.pipeline.model",
    "MedlsamError": "medlsam.errors",
    "Segmentation": "medlsam.results",
    "TemplateSet": "medlsam.localize.templates.template_set",
    "Volume": "medlsam.volume",
    "evaluate": "medlsam.evaluation.run",
    "finetune": "medlsam.segment.finetune.run",
    "load": "medlsam.pipeline.model",
    "localize_folder": "medlsam.batch",
    "phantom": "medlsam.phantoms",
    "read_volume": "medlsam.io.read",
    "segment_folder": "medlsam.batch",
    "write_volume": "medlsam.io.write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medlsam' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
