"""Our path through a SAM against the publishers' own: same weights, same picture, same box.

For SAM and MobileSAM that is segment-anything's ``SamPredictor``; LiteMedSAM's steps are written out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam import model as sam
from medlsam.segment.sam.model import build_network, load_sam
from medlsam.segment.sam.preprocess import to_bytes
from medlsam.weights.checkpoint import Checkpoint

# In continuous pixel indices, in a slice of 100 x 128.
BOXES = [(20.5, 30.25, 70.5, 61.0), (-0.5, 4.5, 127.5, 99.5)]


@pytest.fixture
def predictor_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[nn.Module], Any]]:
    """``SamPredictor`` out of the installed wheel, for which the little that it uses of torchvision is made here.

    Of pictures torchvision's ``resize`` is Pillow's with bilinear interpolation; ``to_pil_image`` of (H, W, 3) bytes
    is ``Image.fromarray``. The rest is only imported by the package.
    """

    def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        return picture.resize(size[::-1], Image.Resampling.BILINEAR)

    contents: dict[str, dict[str, Any]] = {
        "torchvision": {},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": None, "box_area": None},
    }
    for name in [name for name in sys.modules if name.split(".")[0] in ("segment_anything", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    for name, content in contents.items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    yield import_module("segment_anything.predictor").SamPredictor
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        del sys.modules[name]


class OnceEncoder(nn.Module):
    """An image encoder that knows its last picture again: encoding takes seconds, and both sides give the same one."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.img_size = encoder.img_size
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        for picture, embedding in self.seen:
            if torch.equal(picture, pictures):
                return embedding
        self.seen.append((pictures, self.encoder(pictures)))
        return self.seen[-1][1]


def random_state(architecture: Any) -> dict[str, Tensor]:
    """Random weights; those that begin at zero or one (positions, biases, norms) are moved too."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = build_network(architecture).state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point() and "running_var" not in name:
            tensor += 0.05 * torch.randn(tensor.shape)
    return state


def slice_hu() -> NDArray[np.int16]:
    """(100, 128): something like a body with organs, from -1000 to 400 HU."""
    y, x = np.mgrid[:100, :128]
    body = ((x - 64) / 55) ** 2 + ((y - 50) / 40) ** 2 < 1
    structures = 60 * np.sin(x / 9) * np.cos(y / 7) + np.where((x - 45) ** 2 + (y - 45) ** 2 < 200, 120, 20)
    noise = np.random.default_rng(0).normal(0, 15, body.shape)
    return np.where(body, structures + noise, -1000).astype(np.int16)


def compare(name: str, predictor_class: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "autocast", lambda *_: nullcontext())  # float32, whatever the CPU is fast at
    spec = SEGMENTERS[name]
    assert spec.architecture is not None
    state = random_state(spec.architecture)
    ours = load_sam("random.pth", spec, torch.device("cpu"), Checkpoint(state))
    theirs: Any = build_network(spec.architecture).eval()
    theirs.load_state_dict(state)
    # Both share one encoder, and run it once if their pictures are the same to the last bit.
    once = OnceEncoder(ours.network.image_encoder)
    ours.network.image_encoder = theirs.image_encoder = once

    scan = slice_hu()
    embedding = ours.encode(scan)
    found = ours.decode(embedding, BOXES, scan.shape)
    predictor = predictor_class(theirs)
    predictor.set_image(np.repeat(to_bytes(scan, spec)[..., None], 3, axis=-1))
    assert len(once.seen) == 1
    assert predictor.input_size == spec.input_shape(scan.shape)
    for box, logits in zip(BOXES, found, strict=True):
        # its boxes are measured from the edge of the first pixel, ours from its middle
        expected, _, _ = predictor.predict(
            box=np.array(box) + 0.5, multimask_output=False, return_logits=True
        )
        assert np.abs(logits.numpy() - expected[0]).max() < 1e-3
        assert expected.std() > 0.01  # there is something to compare
    assert float((found[0] - found[1]).abs().max()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam_vit_b", "mobile_sam"])
def test_logits_are_those_of_sam_predictor(
    name: str, predictor_class: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(name, predictor_class, monkeypatch)


def test_litemedsam_s_steps_are_its_publishers() -> None:
    """The steps of ``CVPR24_LiteMedSAM_infer.py`` in the LiteMedSAM branch; the image encoder is stood in for."""
    spec = SEGMENTERS["litemedsam"]
    state = random_state("tiny_vit_256")
    model = load_sam("random.pth", spec, torch.device("cpu"), Checkpoint(state))
    embedding = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    pictures: list[Tensor] = []

    class Stub(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            pictures.append(picture)
            return embedding

    model.network.image_encoder = Stub()
    scan = np.kron(slice_hu(), np.ones((4, 4), dtype=np.int16))  # (400, 512): longest side halved to 256
    found = model.decode(model.encode(scan), np.array(BOXES) * 4, scan.shape)

    blocks = to_bytes(scan, spec).reshape(200, 2, 256, 2).astype(int).sum(axis=(1, 3))
    levels = np.floor(blocks / 4 + 0.5)  # cv2.INTER_AREA for a factor of two
    normal = (levels - levels.min()) / np.clip(levels.max() - levels.min(), 1e-8, None)
    padded = np.pad(normal, ((0, 56), (0, 0)))
    np.testing.assert_allclose(pictures[0][0], np.broadcast_to(padded, (3, 256, 256)), atol=1e-6)
    prompts = model.network.prompt_encoder
    assert prompts.input_image_size == (256, 256)
    for box, logits in zip(BOXES, found, strict=True):
        box_256 = torch.as_tensor((np.array(box) * 4 + 0.5) * 256 / 512, dtype=torch.float32)[None, None]
        with torch.no_grad():
            sparse, dense = prompts(points=None, boxes=box_256, masks=None)
            low, _ = model.network.mask_decoder(
                image_embeddings=embedding,
                image_pe=prompts.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
        expected = F.interpolate(low[..., :200, :256], (400, 512), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        assert float(expected.std()) > 0.01
