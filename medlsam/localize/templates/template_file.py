"""The ``.medlsam`` file: a template set as safetensors with its description inside; float16 features, no image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from medlsam.errors import TemplateError
from medlsam.localize.templates.adapted import AdaptedDecoder, AdaptedScore
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.issues import TemplateIssue
from medlsam.localize.templates.template_set import StructureCalibration, StructureTemplate, TemplateSet
from medlsam.runtime.atomic_files import atomic_path

FORMAT = 5
_ARRAYS = (
    "points",
    "latents",
    "features",
    "slab_points",
    "slab_latents",
    "slab_features",
    "shape",
    "profile",
    "probe_gram",
    "probe_target",
    "inside",
    "node_points",
    "node_features",
)
# Left out where they are empty; files written before they were kept have none.
_OPTIONAL = ("hu", "part_boxes", "part_profiles")


def write_template_file(templates: TemplateSet, path: Path) -> None:
    """Write a template set to one file."""
    tensors: dict[str, NDArray[Any]] = {}
    structures = {}
    for number, name in enumerate(templates.structures):
        structures[name] = {
            "value": templates.values[name],
            "supports": [s.template for s in templates.by_structure[name]],
        }
        if name in templates.calibration:
            structures[name]["calibration"] = _entry(templates.calibration[name])
        for index, item in enumerate(templates.by_structure[name]):
            for key in (*_ARRAYS, *(key for key in _OPTIONAL if getattr(item, key).size)):
                array = np.ascontiguousarray(getattr(item, key))
                if key.endswith("features"):
                    array = array.astype(np.float16)
                tensors[f"{number}.{index}.{key}"] = array
    for number, own in enumerate(templates.anchors.values()):
        tensors[f"anchors.{number}.points"] = own.points
        tensors[f"anchors.{number}.features"] = own.features.astype(np.float16)
    about = {
        "format": FORMAT,
        "kind": "templates",
        "organs": structures,
        "signature": templates.signature,
        "source": templates.source,
        "findings": [issue.to_dict() for issue in templates.issues],
        "misfit": {template: dict(own) for template, own in templates.outlier_scores.items()},
        "anchors": list(templates.anchors),
    }
    if templates.adapted is not None:
        about["adapted"] = templates.adapted.about()
        for name, array in templates.adapted.differences.items():
            tensors[f"adapted.{name}"] = np.ascontiguousarray(array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, {"medlsam": json.dumps(about)}))


def read_template_file(path: Path) -> TemplateSet:
    """Read what ``write_template_file`` wrote.

    Raises:
        TemplateError: the file is absent, damaged, of another kind, or of a newer format.
    """
    about = _read_header(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TemplateError(f"{path}: the template file is damaged ({error}); build it again") from error
    values, templates, calibration = {}, {}, {}
    for number, (name, entry) in enumerate(about["organs"].items()):
        values[name] = int(entry["value"])
        group = []
        for index, template in enumerate(entry["supports"]):
            arrays = {key: tensors[f"{number}.{index}.{key}"] for key in _ARRAYS}
            optional = ((key, f"{number}.{index}.{key}") for key in _OPTIONAL)
            arrays |= {key: tensors[place] for key, place in optional if place in tensors}
            for key in ("features", "slab_features", "node_features"):
                arrays[key] = arrays[key].astype(np.float32)
            group.append(StructureTemplate(template=template, **arrays))
        templates[name] = tuple(group)
        if "calibration" in entry:
            calibration[name] = _calibration(entry["calibration"])
    anchors = {
        template: Anchors(
            tensors[f"anchors.{number}.points"], tensors[f"anchors.{number}.features"].astype(np.float32)
        )
        for number, template in enumerate(about["anchors"])
    }
    return TemplateSet(
        values,
        templates,
        about["signature"],
        calibration,
        about["source"],
        tuple(TemplateIssue.from_dict(entry) for entry in about["findings"]),
        about["misfit"],
        anchors,
        _adapted(about["adapted"], tensors) if "adapted" in about else None,
    )


def _adapted(about: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> AdaptedDecoder:
    scores = {name: AdaptedScore(**own) for name, own in about["scores"].items()}
    return AdaptedDecoder(
        about["signature"], scores, {name: tensors[f"adapted.{name}"] for name in about["tensors"]}
    )


def _entry(calibration: StructureCalibration) -> dict[str, Any]:
    """A calibration as the file's description holds it (where the probe's trust is called ``reach``)."""
    entry = {**vars(calibration), "usual": dict(calibration.usual)}
    entry["reach"] = entry.pop("probe_trust")
    return entry


def _calibration(entry: Mapping[str, Any]) -> StructureCalibration:
    return StructureCalibration(
        n=int(entry["n"]),
        face_error_mm=tuple(entry["face_error_mm"]),
        margin_mm=tuple(entry["margin_mm"]),
        similarity=float(entry["similarity"]),
        iou=float(entry["iou"]),
        usual={name: float(value) for name, value in entry["usual"].items()},
        probe_trust=tuple(entry["reach"]),
    )


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise TemplateError(f"{path}: there is no such template file")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length < 100_000_000:
                raise ValueError("no safetensors header")
            header = json.loads(file.read(length))
        about = json.loads(header["__metadata__"]["medlsam"])
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise TemplateError(
            f"{path}: this is not a medlsam template file; make one with `medlsam template build`"
        ) from error
    if about.get("kind") != "templates":
        raise TemplateError(f"{path}: this is a file of kind {about.get('kind')!r}, not templates")
    if about.get("format") != FORMAT:
        raise TemplateError(
            f"{path}: format {about.get('format')} is not known to this version (it reads {FORMAT}); build it again"
        )
    result: dict[str, Any] = about
    return result
