"""``InceptionUNet``, the network of MSWAL ("Inception nnU-Net"), after the paper's Figure 2 and Section 3.

A U-Net of Mini Inceptions. Each stage of the encoder but the first begins with an Inception Downsampling; the first has
a stem (3x3x3, normalisation, ReLU) in its place. The decoder mirrors it: transposed convolution, the encoder's features
beside it, Mini Inceptions.

Parameters of the variants with the paper's six stages (32 to 320 channels, N = 1, 2, 3, 5, 5, 5 Mini Inceptions), one
input channel and MSWAL's seven lesions with the background; in millions (a test counts them):

======= ===== ===== ===== ===== =====
variant I     II    III   IV    V
======= ===== ===== ===== ===== =====
count   93.6  97.4  107.9 111.0 111.4
======= ===== ===== ===== ===== =====

A patch of 64 x 64 x 64 goes through the stages as 32 x 64^3, 64 x 32^3, 128 x 16^3, 256 x 8^3, 320 x 4^3, 320 x 2^3
(channels x voxels), in every variant.

Where the text and the authors' code (one file, for nnU-Net's plans) differ, this follows the text:

- batch normalisation and ReLU; the code takes the plans' instance normalisation and leaky ReLU (``norm`` offers the
  former);
- the right branch of a Mini Inception has two 1x1x1 convolutions everywhere; the code has one, and no residual
  connection, where the width changes (the first block of each stage of the decoder). Here the residual connection is a
  1x1x1 convolution with normalisation there;
- the right branch of Inception Downsampling always has its 1x1x1 convolution; the code leaves it out where the width
  stays.

Where the text is silent: the sum of the branches passes a ReLU (as in the code). M = 6 is taken as the stages, and N
are the blocks of nnU-Net's ResEnc-L plan, whose first block of each further stage is the downsampling (1, 3, 4, 6, 6,
6). The "central arrow" of Inception Downsampling cannot be an identity between two sizes, and is taken as its pooled
right branch, as in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from medlsam.errors import GeometryError
from medlsam.lesion.inception.config import VARIANTS, InceptionConfig, Norm, Triple


class MiniInception(nn.Module):
    """Figure 2 (a): left K, norm, ReLU, K, norm; right 1, norm, 1, norm; residual; their sum passes a ReLU.

    Args:
        before: channels that come in.
        after: channels that go out; where they differ the residual is a 1x1x1 convolution with normalisation.
        kernel: K, (z, y, x).
        config: variant and normalisation.
    """

    def __init__(self, before: int, after: int, kernel: Triple, config: InceptionConfig) -> None:
        super().__init__()
        _, right, residual = VARIANTS[config.variant]
        self.left = _two(before, after, kernel, (1, 1, 1), config.norm)
        self.right = (
            nn.Sequential(*_conv(before, after, 1, config.norm), *_conv(after, after, 1, config.norm))
            if right
            else None
        )
        self.residual: nn.Module | None = None
        if residual:
            same = before == after
            self.residual = nn.Identity() if same else nn.Sequential(*_conv(before, after, 1, config.norm))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, after, Z, Y, X)."""
        total: Tensor = self.left(features)
        for branch in (self.right, self.residual):
            if branch is not None:
                total = total + branch(features)
        return torch.relu(total)


class InceptionDownsampling(nn.Module):
    """Figure 2 (b): left strided K, norm, ReLU, K, norm; right average pooling, 1, norm; their sum passes a ReLU.

    Args:
        before: channels that come in.
        after: channels that go out.
        kernel: K, (z, y, x).
        stride: (z, y, x); also the window of the pooling.
        config: variant and normalisation.
    """

    def __init__(
        self, before: int, after: int, kernel: Triple, stride: Triple, config: InceptionConfig
    ) -> None:
        super().__init__()
        left, _, _ = VARIANTS[config.variant]
        self.left = _two(before, after, kernel, stride, config.norm) if left else None
        self.right = nn.Sequential(nn.AvgPool3d(stride, stride), *_conv(before, after, 1, config.norm))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, after, Z/stride, Y/stride, X/stride)."""
        total: Tensor = self.right(features)
        return torch.relu(total if self.left is None else total + self.left(features))


class InceptionEncoder(nn.Module):
    """Stem and stages; ``forward`` returns the features of all stages, the finest first."""

    def __init__(self, config: InceptionConfig) -> None:
        super().__init__()
        widths, kernels = config.widths, config.stage_kernels
        first = _conv(config.in_channels, widths[0], kernels[0], config.norm)
        self.stem = nn.Sequential(*first, nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        for number, (width, blocks) in enumerate(zip(widths, config.blocks, strict=True)):
            kernel, stride = kernels[number], config.stage_strides[number]
            layers: list[nn.Module] = []
            if number:
                layers.append(InceptionDownsampling(widths[number - 1], width, kernel, stride, config))
            layers += [MiniInception(width, width, kernel, config) for _ in range(blocks)]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, C, Z, Y, X) to the features of each stage."""
        features, found = self.stem(image), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class InceptionDecoder(nn.Module):
    """Stages from coarse to fine, each with a head; ``deep_supervision`` says whether all heads answer.

    By the names ``decoder.seg_layers`` and ``decoder.deep_supervision`` nnU-Net knows heads, which are not taken over
    from a pretrained model, and switches them.
    """

    def __init__(self, config: InceptionConfig, classes: int, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        ups, stages, heads = [], [], []
        for number in range(len(config.widths) - 1, 0, -1):
            below, width = config.widths[number], config.widths[number - 1]
            stride, kernel = config.stage_strides[number], config.stage_kernels[number - 1]
            ups.append(nn.ConvTranspose3d(below, width, stride, stride))
            inner = [2 * width, *[width] * config.decoder_blocks]
            pairs = pairwise(inner)
            stages.append(nn.Sequential(*[MiniInception(a, b, kernel, config) for a, b in pairs]))
            heads.append(nn.Conv3d(width, classes, 1))
        self.ups, self.stages = nn.ModuleList(ups), nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map the encoder's features to logits, the finest first; only those where not ``deep_supervision``."""
        current, logits = features[-1], []
        last = len(self.stages) - 1
        for number, (up, stage) in enumerate(zip(self.ups, self.stages, strict=True)):
            current = stage(torch.cat((up(current), features[-2 - number]), 1))
            if self.deep_supervision or number == last:
                logits.append(self.seg_layers[number](current))
        return logits[::-1]


class InceptionUNet(nn.Module):
    """The whole network; see the module's docstring.

    Args:
        config: its sizes.
        classes: with the background.
        deep_supervision: whether ``forward`` returns the logits of every stage of the decoder in training and out of
            it; also ``network.decoder.deep_supervision``.
    """

    def __init__(self, config: InceptionConfig, classes: int, deep_supervision: bool = False) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.encoder = InceptionEncoder(config)
        self.decoder = InceptionDecoder(config, classes, deep_supervision)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map patches to logits.

        Args:
            image: (B, C, Z, Y, X), standardised.

        Returns:
            (B, classes, Z, Y, X); with deep supervision a list, the finest first, each of the size of its stage.

        Raises:
            GeometryError: a size that the strides do not divide.
        """
        size = tuple(image.shape[2:])
        if len(size) != 3 or any(n % d for n, d in zip(size, self.config.divisor, strict=True)):
            raise GeometryError(
                f"a patch of {size} voxels (z, y, x): give multiples of {self.config.divisor}"
            )
        logits: list[Tensor] = self.decoder(self.encoder(image))
        return logits if self.decoder.deep_supervision else logits[0]


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _conv(
    before: int, after: int, kernel: int | Triple, norm: Norm, stride: Triple = (1, 1, 1)
) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, and the normalisation, which makes a bias needless."""
    sizes = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sizes[0] // 2, sizes[1] // 2, sizes[2] // 2)
    normalisation = nn.BatchNorm3d(after) if norm == "batch" else nn.InstanceNorm3d(after, affine=True)
    return [nn.Conv3d(before, after, sizes, stride, padding, bias=False), normalisation]


def _two(before: int, after: int, kernel: Triple, stride: Triple, norm: Norm) -> nn.Sequential:
    """The left branch of both modules."""
    return nn.Sequential(
        *_conv(before, after, kernel, norm, stride), nn.ReLU(inplace=True), *_conv(after, after, kernel, norm)
    )
