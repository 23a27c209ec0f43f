"""Batch normalisation over the batches of several CPU processes.

torch's ``SyncBatchNorm`` exists on GPUs only. The same on CPUs lets a test without GPUs show that two processes train
as one does: ``--trainer.plugins`` takes ``SharedStatistics``.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from medlsam.training.distributed import process_count


class _Total(torch.autograd.Function):
    """Sum over processes; what each put in counts in every process's loss, so gradients are summed as well."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: object, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _total(value: Tensor) -> Tensor:
    total: Tensor = _Total.apply(value)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm(_BatchNorm):
    """``nn.BatchNorm3d`` whose training statistics are those of all processes together. For CPUs.

    In evaluation, and with one process, it is plain batch normalisation.
    """

    def _check_input_dim(self, values: Tensor) -> None:
        if values.dim() != 5:
            raise ValueError(f"expected (B, C, Z, Y, X), got {values.dim()} axes")

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (B, C, Z, Y, X)."""
        if not self.training or process_count() == 1:
            return super().forward(values)
        self._check_input_dim(values)
        axes = (0, 2, 3, 4)
        # At least float32, whatever autocast has made of the values.
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        own = exact.new_tensor([values.numel() / values.shape[1]])
        # Two rounds, since the difference of two large means of squares would lose what distinguishes them.
        sums = _total(torch.cat([exact.sum(axes), own]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = exact - mean[:, None, None, None]
        variance = _total(centred.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None, "these layers keep statistics"
            assert self.running_var is not None, "these layers keep statistics"
            assert self.num_batches_tracked is not None, "these layers keep statistics"
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum or 0.0)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised = torch.addcmul(self.bias[:, None, None, None], centred, scale[:, None, None, None])
        return normalised.to(values.dtype)


class SharedStatistics(TorchSyncBatchNorm):
    """In place of torch's layers for ``trainer.sync_batchnorm``: ours."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch normalisation layers; parameters and buffers keep their names."""
        return _replace(model, nn.BatchNorm3d, SharedBatchNorm)

    def revert(self, model: nn.Module) -> nn.Module:
        """Put plain layers back."""
        return _replace(model, SharedBatchNorm, nn.BatchNorm3d)


def _replace(model: nn.Module, old: type[_BatchNorm], new: type[_BatchNorm]) -> nn.Module:
    """Exchange all layers of one kind for another, in place; they share parameters and buffers."""
    for name, child in model.named_children():
        if type(child) is old:
            layer = new(child.num_features, child.eps, child.momentum)
            layer.weight, layer.bias = child.weight, child.bias
            layer.running_mean, layer.running_var = child.running_mean, child.running_var
            layer.num_batches_tracked = child.num_batches_tracked
            setattr(model, name, layer.train(child.training))
        else:
            _replace(child, old, new)
    return model
