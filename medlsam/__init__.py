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
    from medlsam.io.read import read_image
    from medlsam.io.write import write_volume
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.options import InferenceOptions
    from medlsam.phantoms import phantom
    from medlsam.pipeline.model import MedLSAM, load
    from medlsam.results import Localization, Segmentation
    from medlsam.segment.finetune.run import finetune
    from medlsam.volume.volume import Image, LabelMap

from medlsam._version import __version__

__all__ = [
    "Box",
    "ExtremePoints",
    "Grid",
    "Image",
    "InferenceOptions",
    "LabelMap",
    "Localization",
    "MedLSAM",
    "MedlsamError",
    "Segmentation",
    "TemplateSet",
    "__version__",
    "evaluate",
    "finetune",
    "load",
    "localize_folder",
    "phantom",
    "read_image",
    "segment_folder",
    "write_volume",
]

_HOME = {
    "Box": "medlsam.geometry",
    "ExtremePoints": "medlsam.geometry",
    "Grid": "medlsam.geometry",
    "Image": "medlsam.volume.volume",
    "InferenceOptions": "medlsam.options",
    "LabelMap": "medlsam.volume.volume",
    "Localization": "medlsam.results",
    "MedLSAM": "medlsam.pipeline.model",
    "MedlsamError": "medlsam.errors",
    "Segmentation": "medlsam.results",
    "TemplateSet": "medlsam.localize.templates.template_set",
    "evaluate": "medlsam.evaluation.run",
    "finetune": "medlsam.segment.finetune.run",
    "load": "medlsam.pipeline.model",
    "localize_folder": "medlsam.batch",
    "phantom": "medlsam.phantoms",
    "read_image": "medlsam.io.read",
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
