"""The encoder is one function on crops and on whole scans, and its maps are read off where they should be."""

from __future__ import annotations

import pytest
import torch

from medlsam.localize.network.encoder import Encoder, EncoderConfig, normalise_hu
from medlsam.localize.network.sampling import cell_centres, sample_map, sample_places

SMALL = EncoderConfig(channels=(8, 12, 16, 20), blocks=(1, 1, 1, 1), fine_channels=8, feature_dim=6)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(SMALL).eval()


def test_shapes_and_unit_features(encoder: Encoder) -> None:
    with torch.inference_mode():
        output = encoder(torch.rand(2, 1, 32, 48, 64))
    assert output.positions.shape == (2, 3, 4, 6, 8)
    assert [tuple(f.shape) for f in output.features] == [
        (2, 6, 4, 6, 8),
        (2, 6, 8, 12, 16),
        (2, 6, 16, 24, 32),
    ]
    for level in output.features:
        assert torch.allclose(level.norm(dim=1), torch.ones(()), atol=1e-5)


def test_sizes_must_fit(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        encoder(torch.rand(1, 1, 32, 40, 32))


def test_a_shift_of_the_scan_shifts_the_maps(encoder: Encoder) -> None:
    """Equivariance: the same content 16 voxels further gives the same maps one or more cells further.

    Content lies in the middle of a constant surround, so that borders are out of the receptive field's reach of
    the cells compared.
    """
    generator = torch.Generator().manual_seed(0)
    scan = torch.zeros(1, 1, 32, 32, 192)
    scan[..., 72:104] = torch.rand(1, 1, 32, 32, 32, generator=generator)
    shifted = scan.roll(16, dims=-1)
    with torch.inference_mode():
        first, second = encoder(scan), encoder(shifted)
    middle = slice(8, 14)
    assert torch.allclose(first.positions[..., middle], second.positions[..., slice(10, 16)], atol=1e-4), (
        "positions at stride 8 must move by two cells"
    )
    fine, moved = first.features[2], second.features[2]
    assert torch.allclose(fine[..., 32:56], moved[..., 40:64], atol=1e-4)
    assert not torch.allclose(fine[..., 32:56], moved[..., 32:56], atol=1e-2)


def test_a_pass_depends_on_no_other_scan(encoder: Encoder) -> None:
    scans = torch.rand(2, 1, 32, 32, 32)
    with torch.inference_mode():
        both, alone = encoder(scans), encoder(scans[:1])
    assert torch.allclose(both.positions[:1], alone.positions, atol=1e-5)


def test_normalise_hu_by_hand() -> None:
    hu = torch.tensor([-3024.0, -1000.0, -600.0, -200.0, 0.0, 200.0, 850.0, 1500.0, 3071.0])
    expected = [0.0, 0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0, 1.0]
    assert normalise_hu(hu, EncoderConfig()).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_sample_map_at_cell_centres_gives_the_cells(stride: int) -> None:
    values = torch.rand(1, 4, 3, 5, 6)
    centres = cell_centres((3, 5, 6), stride).reshape(1, -1, 3)
    sampled = sample_map(values, centres, stride)
    assert torch.allclose(sampled[0], values[0].flatten(1).T, atol=1e-5)


def test_sample_map_between_cells_is_linear() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8, 8)  # value = x cell
    # Stride 2: cell 3 is centred at voxel 6.5, cell 4 at 8.5.
    assert sample_map(ramp, torch.tensor([[[7.0, 6.5, 6.5]]]), 2).item() == pytest.approx(3.25)
    assert sample_map(ramp, torch.tensor([[[-5.0, 6.5, 6.5]]]), 2).item() == 0.0


@pytest.mark.parametrize("strides", [(8, 4, 2), (4, 2, 1)])
def test_variants_give_maps_at_their_strides(strides: tuple[int, int, int]) -> None:
    config = EncoderConfig(
        channels=(8, 8, 16, 16),
        fine_channels=8,
        full_channels=8,
        feature_dim=8,
        feature_strides=strides,
        vote_error=True,
    )
    output = Encoder(config).eval()(torch.rand(1, 1, 32, 48, 32))
    assert [tuple(level.shape[2:]) for level in output.features] == [
        (32 // s, 48 // s, 32 // s) for s in strides
    ]
    assert output.vote_error is not None
    assert output.vote_error.shape == (1, 1, 4, 6, 4)


def test_unknown_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="feature_strides"):
        Encoder(EncoderConfig(feature_strides=(16, 8, 4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_sample_places_is_sample_map(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5, 4, 6, 3, generator=generator).to(dtype)
    points = torch.rand(50, 3, generator=generator) * 40 - 10  # some of them beyond the border
    expected = sample_map(values[None].float(), points[None], 2)[0]
    for layout in (values, values[None].contiguous(memory_format=torch.channels_last_3d)[0]):
        torch.testing.assert_close(sample_places(layout, points, 2), expected, atol=1e-5, rtol=1e-5)
    assert sample_places(values, points[:0], 2).shape == (0, 5)
