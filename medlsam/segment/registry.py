"""The known segmenters, each with the preprocessing that its weights were trained with. No torch.

Preprocessing belongs to the weights: a ViT-B with another model's normalisation still gives masks, only worse ones,
without any error. So one entry holds window, normalisation, size, aspect and box scaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from medlsam.weights.entries import WeightsEntry
from medlsam.weights.registry import entry
from medlsam.windows import WINDOWS, Window

Kind = Literal["sam", "crop"]
Architecture = Literal["vit_b", "vit_l", "vit_h", "tiny_vit_1024", "tiny_vit_256"]
Aspect = Literal["longest", "stretch", "crop"]
Interpolation = Literal["bilinear", "area", "spline", "own"]
Normalisation = Literal["mean_std", "min_max", "own"]


@dataclass(frozen=True)
class SegmenterSpec:
    """One model and the input that it expects.

    Attributes:
        name: name of the model, and of its weights in ``medlsam.weights.entries``.
        kind: ``sam`` encodes whole slices with segment-anything's classes; ``crop`` encodes crops around the boxes
            and prepares them itself.
        input_size: side of the square input, pixels.
        aspect: ``longest`` scales the longest side to ``input_size`` and pads right and below with zeros;
            ``stretch`` scales both sides to it; ``crop`` leaves it to the model.
        level: middle of the window, HU.
        width: width of the window, HU; values outside are clipped. Whole slices become 256 grey levels, 0..255.
        interpolation: resizing of these: ``bilinear`` as Pillow, ``area`` as OpenCV, ``spline`` as scikit-image
            (see ``sam.preprocess``), or ``own``.
        normalisation: ``mean_std`` per channel, ``min_max`` of each resized slice to 0..1, or ``own``.
        mean: mean of the three channels, on 0..255.
        std: standard deviation of the three channels, on 0..255.
        architecture: image encoder: segment-anything's name, or TinyViT for pictures of that size; None for the
            crop kind.
        windows: other windows for structures that lie beyond the model's own (see ``windows.choose_window``). They do
            not count in ``repr``, which signs embeddings: the window that one was made in is then its level and width.
    """

    name: str
    kind: Kind
    input_size: int
    aspect: Aspect
    level: float
    width: float
    interpolation: Interpolation
    normalisation: Normalisation
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    architecture: Architecture | None = None
    windows: tuple[Window, ...] = field(default=(), repr=False)

    @property
    def window(self) -> Window:
        """The window that the model was trained in, or the usual one for soft tissue."""
        return Window("model", self.level, self.width)

    def in_window(self, window_hu: tuple[float, float] | None) -> SegmenterSpec:
        """The same preprocessing in another window (low, high HU); None for the model's own."""
        if window_hu is None:
            return self
        low, high = window_hu
        return replace(self, level=(low + high) / 2, width=high - low)

    @property
    def weights(self) -> WeightsEntry:
        """The entry of its weights: file, url, sha256, licence."""
        return entry(self.name)

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self.weights.licence

    @property
    def url(self) -> str | None:
        """Download address of the weights; None where they ship or have to be brought."""
        return self.weights.url

    @property
    def sha256(self) -> str | None:
        """The sha256 of the weights file; None where none was published."""
        return self.weights.sha256

    def input_shape(self, shape_hw: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width), in input pixels, of a scaled slice of ``shape_hw``, without the padding."""
        if self.aspect == "stretch":
            return (self.input_size, self.input_size)
        scale = self.input_size / max(shape_hw)
        return (int(shape_hw[0] * scale + 0.5), int(shape_hw[1] * scale + 0.5))


def _sam(name: str, architecture: Architecture) -> SegmenterSpec:
    """SAM was trained on photographs, 0..255, minus ImageNet's mean. The window is ours, usual for soft tissue."""
    return SegmenterSpec(
        name=name,
        kind="sam",
        input_size=1024,
        aspect="longest",
        level=40.0,
        width=400.0,
        interpolation="bilinear",
        normalisation="mean_std",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        architecture=architecture,
        windows=(WINDOWS["lung-wide"], WINDOWS["bone"]),
    )


_SPECS = (
    SegmenterSpec(
        # The configuration inside the weights file has its own sizes and windows; these are the usual ones.
        name="sam-tiny",
        kind="crop",
        input_size=96,
        aspect="crop",
        level=40.0,
        width=400.0,
        interpolation="own",
        normalisation="own",
    ),
    _sam("sam_vit_b", "vit_b"),
    _sam("sam_vit_l", "vit_l"),
    _sam("sam_vit_h", "vit_h"),
    SegmenterSpec(
        # As its publishers prepare CT: window, resize without keeping the aspect, then each slice's own
        # range to 0..1. SAM's mean and std do NOT follow, although the network is the same.
        name="medsam_vit_b",
        kind="sam",
        input_size=1024,
        aspect="stretch",
        level=40.0,
        width=400.0,
        interpolation="spline",
        normalisation="min_max",
        architecture="vit_b",
        windows=(WINDOWS["lung-medsam"], WINDOWS["bone"]),
    ),
    SegmenterSpec(
        # Window and range are MedSAM's; unlike there the aspect is kept. Its publishers cut the boxes' fractions
        # off, which we do not.
        name="litemedsam",
        kind="sam",
        input_size=256,
        aspect="longest",
        level=40.0,
        width=400.0,
        interpolation="area",
        normalisation="min_max",
        architecture="tiny_vit_256",
        windows=(WINDOWS["lung-medsam"], WINDOWS["bone"]),
    ),
    # Distilled from SAM's encoder, on pictures prepared as for SAM.
    _sam("mobile_sam", "tiny_vit_1024"),
)

#: Every segmenter by name; the first is the default.
SEGMENTERS: Mapping[str, SegmenterSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
