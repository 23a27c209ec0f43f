"""The options of a model and of one call to it: what is chosen when it is loaded, and what a call may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medlsam.errors import UsageError
from medlsam.options import InferenceOptions
from medlsam.weights import names as weight_names


def call_options(
    model: InferenceOptions, options: InferenceOptions | None, overrides: Mapping[str, Any]
) -> InferenceOptions:
    """Options of one call; see ``MedLSAM.options_of``.

    Args:
        model: those that the model was loaded with.
        options: those given to the call, or None.
        overrides: single options by name.

    Raises:
        UsageError: an unknown option, or a network option as override: it would change nothing any more.
    """
    given = options or model
    chosen = given.replace(**overrides)
    for name in overrides:
        if hasattr(given, name):
            raise UsageError(f"{name}: this is chosen when the model is loaded: medlsam.load({name}=...)")
        if hasattr(given.output, name):
            raise UsageError(f"{name}: one scan's answer is not written; use medlsam.segment_folder")
    return replace(
        model, locate=chosen.locate, prompt=chosen.prompt, label_map=chosen.label_map, output=chosen.output
    )


def with_absolute_paths(options: InferenceOptions) -> InferenceOptions:
    """The same options for a process that works in another folder."""
    files = {name: getattr(options, name) for name in ("weights", "cache")}
    for kind in ("localizer", "segmenter"):
        chosen = getattr(options, kind)
        files[kind] = None if chosen in weight_names(kind) else chosen
    return options.replace(
        **{name: Path(path).expanduser().absolute() for name, path in files.items() if path is not None}
    )
