"""A world for evaluation: three structures at known places, and a model that locates them a known way off."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from medlsam.errors import VolumeError
from medlsam.evaluation.run import evaluate
from medlsam.geometry import Box
from medlsam.io.cases import Case
from medlsam.options import InferenceOptions
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Image

SHAPE = (16, 24, 28)
SPACING = (2.0, 2.0, 3.0)
NAMES = {1: "cube", 2: "bar", 3: "cut"}
#: (z, y, x) slices on the canonical grid; "cut" reaches the last slice.
PLACES = {
    "cube": (slice(4, 10), slice(5, 15), slice(4, 14)),
    "bar": (slice(3, 12), slice(16, 20), slice(18, 22)),
    "cut": (slice(12, 16), slice(4, 8), slice(18, 24)),
}


def place_box(name: str, shift_mm: float = 0.0) -> Box:
    """The true box of a structure on the canonical grid at origin 0, moved along x."""
    z, y, x = PLACES[name]
    low = [(s.start - 0.5) * d for s, d in zip((x, y, z), SPACING, strict=True)]
    high = [(s.stop - 0.5) * d for s, d in zip((x, y, z), SPACING, strict=True)]
    return Box((low[0] + shift_mm, low[1], low[2]), (high[0] + shift_mm, high[1], high[2]))


def fill_boxes(volume: Image, prompts: Mapping[str, Sequence[SlicePrompt]], **_: Any) -> dict[str, MaskBlock]:
    """A segmenter that fills every prompted box."""
    blocks = {}
    for key, boxes in prompts.items():
        probability = np.zeros(volume.array.shape, np.float32)
        for prompt in boxes:
            x0, y0, x1, y1 = (math.ceil(edge - 1e-6) for edge in prompt.box_xyxy)
            probability[prompt.z, y0:y1, x0:x1] = 1.0
        blocks[key] = MaskBlock((0, 0, 0), probability)
    return blocks


class StubModel:
    """Locates every structure ``shift_mm`` to the left of the truth and fills the located boxes."""

    localizer_weights = segmenter_weights = SimpleNamespace(name="stub", sha256="").__dict__

    def __init__(
        self,
        shift_mm: float = 0.0,
        missing: Sequence[tuple[str, str]] = (),
        prior: bool = True,
        promise_mm: float = 3.0,
    ) -> None:
        self.shift_mm = shift_mm
        self.missing = missing
        self.prior = prior
        self.promise_mm = promise_mm
        self.segmenter = SimpleNamespace(segment=fill_boxes, spec=SimpleNamespace(kind="crop", name="stub"))
        self.events: list[str] = []

    def check(self, templates: Any) -> None:
        """Any templates will do."""

    def segmenter_for(self, templates: Any) -> Any:
        """Nothing is adapted."""
        return self.segmenter

    def embed(self, image: Image) -> str:
        """An embedding that says whose it is, for nobody to take that of another scan."""
        assert image.path is not None
        self.events.append(f"embed {image.path.name}")
        return image.path.name

    def options_of(self, options: InferenceOptions | None = None, **overrides: Any) -> InferenceOptions:
        """As ``MedLSAM.options_of``."""
        return (options or InferenceOptions()).replace(**overrides)

    def localize(
        self,
        image: Image,
        templates: Any,
        options: InferenceOptions,
        *,
        stopwatch: Stopwatch | None = None,
        embedding: str = "",
        search_options: Any = None,
        **overrides: Any,
    ) -> Localization:
        """The true boxes, moved twice as far by the paper's mode, and 2 mm farther where nothing is refined."""
        assert image.path is not None
        case = image.path.name
        assert embedding == case, "the scan is embedded once, for all searches"
        shift = self.shift_mm * (2 if options.replace(**overrides).locate.search == "random-start" else 1)
        shift += 2.0 if search_options is not None and not search_options.windows_mm else 0.0
        with (stopwatch or Stopwatch())("locate"):
            structures = self._organs(case, templates, shift)
        return Localization(case, structures, image)

    def _organs(self, case: str, templates: Any, shift: float) -> dict[str, LocatedStructure]:
        prior = np.ones((4, 4, 4), np.float32) if self.prior else None
        return {
            name: LocatedStructure(
                name,
                "missing" if (case, name) in self.missing else "found",
                0.3 if (case, name) in self.missing else 0.8,
                box=place_box(name, shift),
                prompt_box=place_box(name, shift).expand(self.promise_mm),
                shape_prior=prior,
            )
            for name in templates.structures
        }

    def segment(
        self, image: Image, templates: Any, options: InferenceOptions, *, embedding: str, stopwatch: Stopwatch
    ) -> Segmentation:
        """The located boxes filled, in the image's own geometry."""
        located = self.localize(image, templates, options, embedding=embedding)
        self.events.append(f"segment {located.case}")
        if located.case == "broken":
            raise VolumeError("broken: this scan cannot be segmented")
        values = {name: value for value, name in NAMES.items() if name in templates.structures}
        segmenter: Any = self.segmenter
        return segment_located(lambda: segmenter, image, located, values, options, stopwatch)


TEMPLATES: Any = SimpleNamespace(structures=("cube", "bar", "cut"))
Dataset = Callable[..., list[Case]]


def run(model: StubModel, cases: Sequence[Case], tmp_path: Path, **options: Any) -> dict[str, Any]:
    """Evaluate with boxes as they are, and read what was written."""
    options = {"margin_mm": 0.0, "prompts": "wpl"} | options
    returned = evaluate(model, TEMPLATES, cases, tmp_path / "labelsTr", tmp_path / "out", **options)  # type: ignore[arg-type]
    written: dict[str, Any] = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == json.loads(json.dumps(returned))
    return written
