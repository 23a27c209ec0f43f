"""Checkpoints of the SAM family: which model a file holds, or what else it is."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.checkpoint import read_checkpoint, recognise
from medlsam.segment.sam.model import build_network, load_sam
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.weights.checkpoint import Checkpoint
from tests.segment.sam.test_tiny_vit import published
from tests.support.data.published_file import write_checkpoint

CPU = torch.device("cpu")
DECODING = {"prompt_encoder.no_mask_embed.weight": (1, 256), "mask_decoder.iou_token.weight": (1, 256)}


def vit(width: int = 768, blocks: int = 12, grid: int = 64) -> dict[str, Tensor]:
    """What tells a SAM's image encoder, without its memory: other tensors are empty."""
    state = {f"image_encoder.blocks.{i}.norm1.weight": torch.zeros(width) for i in range(blocks)}
    state["image_encoder.pos_embed"] = torch.zeros(1, grid, grid, width)
    return state | decoding()


def decoding() -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in DECODING.items()}


def tiny(size: int) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in published(size).items()} | decoding()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (vit(), "vit_b"),
        (vit(1024, 24), "vit_l"),
        (vit(1280, 32), "vit_h"),
        (tiny(1024), "tiny_vit_1024"),
        (tiny(256), "tiny_vit_256"),
    ],
)
def test_models_are_recognised_by_keys_and_shapes(state: dict[str, Tensor], expected: str) -> None:
    assert recognise(Checkpoint(state), "x.pth") == expected


@pytest.mark.parametrize(("size", "name"), [(1024, "mobile_sam"), (256, "litemedsam")])
def test_tiny_vit_files_need_no_name_and_load_every_value(size: int, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build_network(f"tiny_vit_{size}").state_dict()  # type: ignore[arg-type]
    if size == 1024:  # as in the published file
        state |= {k: torch.zeros(s) for k, s in published(size).items() if k not in state}
        assert len(state) == 302 + 137
    path = tmp_path / "somebody_s.pt"
    torch.save(state, path)
    segmenter = load_segmenter(path, "cpu")
    assert isinstance(segmenter, WholeSliceSegmenter)
    assert segmenter.spec is SEGMENTERS[name]
    loaded = segmenter.model.network.state_dict()  # type: ignore[attr-defined]
    assert loaded.keys() == {
        k for k in state if not k.startswith(("image_encoder.head", "image_encoder.norm_head"))
    }
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    del state["image_encoder.neck.0.weight"]
    with pytest.raises(WeightsError, match=rf"{name}: 1 missing \(image_encoder.neck.0.weight\)"):
        load_sam(path, SEGMENTERS[name], CPU, Checkpoint(dict(state)))


def test_training_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    state = vit()
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}
    for name, content in {
        "medsam.pth": {"model": state, "optimizer": optimizer, "epoch": 3},
        "parallel.pth": {"state_dict": {f"module.{k}": v.half() for k, v in state.items()}, "epoch": 1},
    }.items():
        torch.save(content, tmp_path / name)
        found = read_checkpoint(tmp_path / name)
        assert found.state.keys() == state.keys()
        assert all(value.dtype == torch.float32 for value in found.state.values())
        assert "epoch" in found.beside
        assert found.form == "training checkpoint"
        assert recognise(found, name) == "vit_b"
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "sam.safetensors")
    found = read_checkpoint(tmp_path / "sam.safetensors")
    assert found.state.keys() == state.keys()
    assert (found.beside, found.form) == ((), "weights file")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["module.conv0_1.conv.weight", "module.fc1.weight"], "this is a MedLAM {form} .*, not a SAM"),
        (["image_encoder.trunk.pos_embed", "memory_attention.x"], "a SAM 2 or MedSAM2 {form}, not a SAM"),
        (["vision_encoder.pos_embed", "mask_decoder.x"], "a SAM {form} in the names of Hugging Face"),
        (["image_encoder.pos_embed", "mask_decoder.hf_token.weight"], "a HQ-SAM {form}"),
        (["image_encoder.stages.0.x", "prompt_encoder.x"], "a {form} with another image encoder"),
        (["prompt_encoder.bbox_top_left_embeddings.weight"], "an EfficientSAM {form}"),
        (
            ["encoder.stem.weight", "projector.weight"],
            "a {form} of another network, not a SAM .keys encoder.stem",
        ),
        (
            ["sam.image_encoder.pos_embed", "sam.mask_decoder.x"],
            "a {form} of a model that holds a SAM under 'sam.'",
        ),
        (["layer1.0.weight"], r"a {form} of an unknown kind \(keys layer1.0.weight\)"),
    ],
)
@pytest.mark.parametrize("form", ["weights file", "training checkpoint", "Lightning checkpoint"])
def test_wrong_kinds_are_named(keys: list[str], words: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    state: dict[str, Any] = {key: torch.zeros(2) for key in keys}
    if form != "weights file":
        state = {"epoch": 2, "state_dict": state, "optimizer": {}}
    if form == "Lightning checkpoint":
        state["pytorch-lightning_version"] = lightning.__version__
    torch.save(state, path)
    with pytest.raises(WeightsError, match=words.format(form=form)) as caught:
        load_segmenter(path, "cpu")
    assert str(path) in str(caught.value)
    assert "wanted: a checkpoint of SAM (ViT-B" in str(caught.value)


def test_a_medlam_checkpoint_is_named(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "medlam.pth")
    with pytest.raises(WeightsError, match="a MedLAM weights file .*, not a SAM; .*--localizer published"):
        load_segmenter(path, "cpu")
    torch.save({"epoch": 3, "state_dict": torch.load(path), "optimizer": {}}, tmp_path / "latest.tar")
    with pytest.raises(WeightsError, match="latest.tar: this is a MedLAM training checkpoint .*, not a SAM"):
        load_segmenter(tmp_path / "latest.tar", "cpu")


def test_our_own_trainings_checkpoint_is_named(tmp_path: Path) -> None:
    from medlsam.segment.sam_tiny.network import TinyConfig
    from medlsam.segment.sam_tiny.train import TinyTraining

    small = TinyConfig(stem=8, quarter=8, eighth=8, sixteenth=8, dim=16, mlp=16, heads=2)
    trainer = lightning.Trainer(max_steps=0, logger=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(TinyTraining(small))
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    with pytest.raises(
        WeightsError, match="a Lightning checkpoint of sam-tiny's training, not a SAM; .* export"
    ):
        load_segmenter(path, "cpu")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (vit(512, 8), "SAM-like model with 8 blocks of width 512 on a 64x64 grid"),
        (vit(grid=32), "12 blocks of width 768 on a 32x32 grid"),
        (
            {"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(48, 3, 3, 3)},
            r"another size .*\(48, 3, 3, 3\)",
        ),
        (
            {k: v for k, v in vit().items() if "prompt" not in k},
            r"no whole SAM, .*\(prompt_encoder.no_mask_embed",
        ),
    ],
)
def test_relatives_that_do_not_fit_are_named(state: dict[str, Tensor], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        recognise(Checkpoint(state), "x.pth")


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"model": {"w": torch.zeros(1)}, "args": Namespace(lr=1.0)}, path)
    with pytest.raises(WeightsError, match="file.pth holds Python objects other than tensors"):
        load_segmenter(path, "cpu")
    torch.save(
        {"state_dict": {}, "pytorch-lightning_version": "2.6", "hyper_parameters": Namespace(lr=1.0)}, path
    )
    with pytest.raises(
        WeightsError, match="is a Lightning checkpoint and holds Python objects other than tensors"
    ):
        load_segmenter(path, "cpu")
    torch.save({"optimizer": {"state": {}}, "epoch": 1}, path)
    with pytest.raises(WeightsError, match="no state dict: found keys optimizer, epoch"):
        load_segmenter(path, "cpu")
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="found list"):
        load_segmenter(path, "cpu")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="HTML"):
        load_segmenter(path, "cpu")
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(WeightsError, match="damaged or truncated"):
        load_segmenter(path, "cpu")
