"""Beginning with the weights of another label set: the body is taken over, heads of other lesions begin new."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.lesion.inception.network import InceptionUNet
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.weights.checkpoint import check_fit, read_checkpoint
from medlsam.weights.store import load_weights

_log = logging.getLogger(__name__)
HEADS = "decoder.seg_layers."
_NNUNET = "network_weights"


def start_from(network: InceptionUNet, file: Path, names: Sequence[str]) -> None:
    """Put the weights of a file into a network whose classes may be others.

    The body is taken over whole. Of each head, the rows of lesions in common (by name) and the background's are; those
    of other lesions begin new. A warning tells which.

    Args:
        network: takes the weights, in place.
        file: a weights file or Lightning checkpoint of ``train``.
        names: lesions of the network's classes 1, 2, ...

    Raises:
        WeightsError: no such file, or another network: the message names what differs.
    """
    state, before = read_start(file)
    own = network.state_dict()
    body = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    check_fit(
        body,
        {k: v for k, v in own.items() if not k.startswith(HEADS)},
        file,
        "this network (widths, blocks, ...)",
    )
    common = [name for name in names if name in before]
    new = [name for name in names if name not in before]
    if list(before) != list(names):
        told = f"{file}: trained on {', '.join(before)}; "
        told += f"the heads ({HEADS}*) of {', '.join(new) or 'no lesion'} begin new"
        _log.warning("%s%s", told, f", those of {', '.join(common)} are taken over" if common else "")
    for key, tensor in own.items():
        if key.startswith(HEADS):
            theirs = state.get(key)
            # The background (row 0) is another one where it holds other lesions, but the nearest that there is.
            rows = [(0, 0), *[(names.index(name) + 1, before.index(name) + 1) for name in common]]
            if theirs is None or theirs.shape[1:] != tensor.shape[1:]:
                raise WeightsError(
                    f"{file}: no head {key} of {tuple(tensor.shape)}; it was trained with other stages"
                )
            body[key] = tensor.clone()
            for mine, other in rows:
                body[key][mine] = theirs[other]
    network.load_state_dict(body)


def read_start(file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read the network's tensors and the names of its lesions from a weights file or a Lightning checkpoint.

    Raises:
        WeightsError: another kind of file.
    """
    if file.suffix == ".safetensors":
        state, config = load_weights(file, "lesion-network")
        return state, tuple(name for _, name in ScanPlan.from_dict(config["plan"]).names)
    checkpoint = read_checkpoint(file, "weights or a checkpoint of medlsam.lesion.inception.train is wanted")
    state = {k.removeprefix("net."): v for k, v in checkpoint.state.items() if k.startswith("net.")}
    if not state or "scan_plan" not in checkpoint.beside:
        kind = (
            "a checkpoint of nnU-Net, for nnUNetv2_train -pretrained_weights"
            if _NNUNET in checkpoint.beside
            else (f"a {checkpoint.form}")
        )
        raise WeightsError(f"{file} is {kind}, not of medlsam.lesion.inception.train")
    import torch

    plan = torch.load(file, map_location="cpu", weights_only=True)["scan_plan"]
    return state, tuple(name for _, name in ScanPlan.from_dict(plan).names)
