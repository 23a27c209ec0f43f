"""A model whose two networks are stubs: structures are known by their HU, so every answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medlsam.geometry import Grid, mask_box
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.pipeline.model import MedLSAM
from medlsam.results import LocatedStructure
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Image, to_canonical

#: HU of each structure; and its label value.
HU = {"block": 700, "plate": 300, "ghost": 1500}
VALUES = {"block": 1, "plate": 7, "ghost": 300}
SIGNATURE = "ab" * 32


def draw_ct(grid: Grid, without: Sequence[str] = (), seed: int = 0) -> Image:
    """Soft tissue with noise, a block and a plate of known HU; never a ghost."""
    noise = np.random.default_rng(seed).integers(-20, 60, grid.shape_zyx)
    array = noise.astype(np.int16)
    array[:, :3] = -1000
    places = {"block": np.s_[4:9, 6:12, 5:11], "plate": np.s_[10:13, 5:20, 8:21]}
    for name, place in places.items():
        if name not in without:
            array[place] = HU[name]
    return Image(array, grid)


def true_mask(volume: Image, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(volume.array == HU[name])


def template_set(
    names: Iterable[str] = VALUES, signature: str = SIGNATURE, shift: float = 0.0
) -> TemplateSet:
    """Templates without content, but with everything that saving and selecting needs."""
    arrays = {
        f.name: np.full(1, shift, np.float32)
        for f in fields(StructureTemplate)
        if f.name not in ("template", "hu", "part_boxes", "part_profiles")
    }
    template = StructureTemplate(template="template", **arrays)  # type: ignore[arg-type]
    names = list(names)
    return TemplateSet({n: VALUES[n] for n in names}, dict.fromkeys(names, (template,)), signature)


def stub_locate(
    embedding: Image,
    templates: TemplateSet,
    options: Any = None,
    *,
    generator: torch.Generator | None = None,
    slabs: bool = False,
    search_options: Any = None,
) -> dict[str, LocatedStructure]:
    """The tight box of all voxels of a structure's HU; missing where there is none."""
    canonical = to_canonical(embedding)
    found = {}
    for name in templates.structures:
        mask = true_mask(canonical, name)
        if mask.any():
            profile = np.array([[0, 0, 0, 1, 1], [1, 0, 0, 1, 1]], np.float32)
            box = mask_box(mask, canonical.grid)
            found[name] = LocatedStructure(
                name,
                "found",
                0.9,
                2.0,
                box=box,
                prompt_box=box,
                profile=profile,
                slabs=(box,) if slabs else (),
            )
        else:
            found[name] = LocatedStructure(name, "missing", 0.1)
    return found


@dataclass
class StubLocalizer:
    """``embed`` hands the scan through."""

    name: str = "stub"
    signature: str = SIGNATURE
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seen: int = 0

    def embed(self, volume: Image) -> Image:
        self.seen += 1
        return volume


@dataclass
class StubSegmenter:
    """Finds voxels of a structure's HU inside its prompts, and remembers what it was asked."""

    signature: str = "cd" * 32
    spec: Any = field(default_factory=lambda: SimpleNamespace(name="stub-segmenter", kind="crop"))
    calls: list[dict[str, list[SlicePrompt]]] = field(default_factory=list)
    mask_prompts: list[dict[str, MaskBlock]] = field(default_factory=list)

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Any = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        self.mask_prompts.append(dict(mask_prompts or {}))
        self.calls.append({name: list(found) for name, found in prompts.items()})
        blocks = {}
        with stopwatch("encode"), stopwatch("decode"):
            for name, found in prompts.items():
                inside = np.zeros(volume.array.shape, bool)
                for prompt in found:
                    x0, y0, x1, y1 = (int(np.ceil(v)) for v in prompt.box_xyxy)
                    inside[prompt.z, y0:y1, x0:x1] = True
                blocks[name] = MaskBlock(
                    (0, 0, 0), (inside & true_mask(volume, name.split("/")[0])).astype(np.float32)
                )
        return blocks


def stub_model(monkeypatch: pytest.MonkeyPatch | None = None) -> MedLSAM:
    """A model of both stubs; without ``monkeypatch`` the stub stays for the whole process."""
    if monkeypatch is None:
        import medlsam.pipeline.model

        medlsam.pipeline.model.locate = stub_locate  # type: ignore[assignment]
    else:
        monkeypatch.setattr("medlsam.pipeline.model.locate", stub_locate)
    return MedLSAM(StubLocalizer(), StubSegmenter())  # type: ignore[arg-type]
