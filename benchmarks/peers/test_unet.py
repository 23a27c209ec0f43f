"""The U-Net's pure parts: how patches are cut, what its loss passes over, how windows cover a scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.peers.patches import AIR, Scan, cut, draw_matrix, draw_middle, draw_patch, read_scan
from benchmarks.peers.unet import Settings
from benchmarks.peers.unet_network import IGNORED, UNet, dice_and_cross_entropy, slide, starts
from medlsam.geometry import Grid
from medlsam.localize.build_templates import Template
from medlsam.volume import Image, LabelMap

SHAPE = (8, 10, 12)


def scan_of() -> Scan:
    """Two structures of three (class 2 is not labelled), in a scan whose grey levels are all different."""
    labels = np.zeros((20, 24, 28), np.uint8)
    labels[5:8, 6:10, 7:12], labels[15, 20, 25] = 1, 3
    grey = torch.linspace(-0.5, 0.5, labels.size).view(labels.shape)
    voxels = {c: np.argwhere(labels == c) for c in (1, 3)}
    return Scan(grey, torch.from_numpy(labels), torch.tensor([True, True, False, True]), voxels)


def test_a_patch_that_nothing_is_done_to_is_a_part_of_the_scan() -> None:
    scan = scan_of()
    grey, labels = cut(scan, np.array([7.0, 9.0, 11.0]), np.eye(3), SHAPE, None)
    place = (slice(4, 12), slice(5, 15), slice(6, 18))
    torch.testing.assert_close(grey, scan.grey[place], atol=1e-5, rtol=0)
    assert torch.equal(labels, scan.labels[place].long())


def test_outside_of_the_scan_is_air_that_no_label_counts_in() -> None:
    grey, labels = cut(scan_of(), np.array([0.0, 9.0, 11.0]), np.eye(3), SHAPE, None)
    assert (grey[:3] == AIR).all()
    assert (labels[:3] == IGNORED).all()
    assert (labels[3:] != IGNORED).all()


def test_a_patch_is_turned_and_scaled_in_millimetres() -> None:
    scan, middle = scan_of(), np.array([10.0, 12.0, 14.0])
    doubled, _ = cut(scan, middle, 2 * np.eye(3), (3, 3, 3), None)
    torch.testing.assert_close(doubled, scan.grey[8:13:2, 10:15:2, 12:17:2], atol=1e-5, rtol=0)
    # A quarter turn about x takes z (3 mm) to y (4 mm).
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned, _ = cut(scan, middle, quarter, (5, 5, 1), None)
    assert float(turned[4, 2, 0]) == pytest.approx(
        float(scan.grey[10, 13, 14] + scan.grey[10, 14, 14]) / 2, abs=1e-3
    )
    matrix = draw_matrix(np.random.default_rng(0))
    scale = np.cbrt(np.linalg.det(matrix))
    assert 0.8 < scale < 1.25
    np.testing.assert_allclose(matrix @ matrix.T, scale**2 * np.eye(3), atol=1e-9)


def test_patches_lie_around_each_structure_equally_often_and_elsewhere() -> None:
    scan, rng = scan_of(), np.random.default_rng(0)
    middles = np.array([draw_middle(scan, rng) for _ in range(2000)])
    small = (middles == [15, 20, 25]).all(axis=1).mean()
    large = ((middles >= [5, 6, 7]) & (middles < [8, 10, 12])).all(axis=1).mean()
    assert small == pytest.approx(0.35, abs=0.04), "one voxel is drawn as often as sixty"
    assert large == pytest.approx(0.35, abs=0.04)
    again = [draw_patch([scan], SHAPE, np.random.default_rng(3))[0] for _ in range(2)]
    assert torch.equal(*again)


def test_a_template_says_which_structures_it_labels() -> None:
    grid = Grid((12, 10, 10), (4.0, 4.0, 3.0))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[3:6, 2:5, 2:5] = 2
    image = Image(np.zeros(grid.shape_zyx, np.int16), grid)
    scan = read_scan(Template("a", image, LabelMap(labels, grid)), 4)
    assert scan.labelled.tolist() == [True, False, True, False]
    assert torch.equal(scan.labels, torch.from_numpy(labels))
    assert (scan.grey == 0).all()


def test_what_a_template_does_not_label_is_neither_right_nor_wrong() -> None:
    labels = torch.zeros(1, *SHAPE, dtype=torch.long)
    labels[:, :4] = 1
    right, wrong = torch.zeros(1, 3, *SHAPE), torch.zeros(1, 3, *SHAPE)
    for logits, second in ((right, 1), (wrong, 2)):
        logits[:, 0, 4:] = logits[:, second, :4] = 20.0
    hidden_there = right.clone()
    hidden_there[:, 2, 6:] = 40.0  # class 2 where background is labelled
    all_known, without_2 = torch.tensor([[True, True, True]]), torch.tensor([[True, True, False]])
    assert float(dice_and_cross_entropy(right, labels, all_known)) == pytest.approx(0, abs=0.01)
    assert float(dice_and_cross_entropy(wrong, labels, all_known)) > 1
    assert float(dice_and_cross_entropy(wrong, labels, without_2)) > 1
    assert float(dice_and_cross_entropy(hidden_there, labels, all_known)) > 1
    assert float(dice_and_cross_entropy(hidden_there, labels, without_2)) == pytest.approx(0, abs=0.01)
    outside = labels.clone()
    outside[:, 6:] = IGNORED
    assert float(dice_and_cross_entropy(hidden_there, outside, all_known)) == pytest.approx(0, abs=0.01)
    assert without_2.tolist() == [[True, True, False]], "what is given is not changed"


def test_the_loss_is_cross_entropy_and_the_dice_of_structures_in_the_patch() -> None:
    labels = torch.zeros(1, *SHAPE, dtype=torch.long)
    labels[:, :4] = 1
    even, known = torch.zeros(1, 3, *SHAPE), torch.tensor([[True, True, True]])
    # A third everywhere, of a structure that fills half: Dice 2 * 1/6 / (1/3 + 1/2). Class 2 is not there.
    assert float(dice_and_cross_entropy(even, labels, known)) == pytest.approx(np.log(3) + 1 - 0.4, abs=0.01)


class Halves(nn.Module):
    """Two classes: the logit of the second is ten times the grey level."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), 10 * x], dim=1)


def test_windows_cover_a_scan_without_seams() -> None:
    assert starts(20, 20) == starts(5, 20) == [0]
    assert starts(50, 20) == [0, 10, 20, 30]
    assert starts(51, 20) == [0, 8, 16, 23, 31]
    grey = torch.rand(17, 30, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    found = slide(Halves(), grey, (8, 8, 8), 2, AIR)
    assert found.shape == (2, 17, 30, 7)
    torch.testing.assert_close(found[1], (10 * grey).sigmoid())


def test_the_network_keeps_the_shape_and_learns() -> None:
    torch.manual_seed(0)
    with torch.inference_mode(mode=False):
        network, optimizer_steps = UNet(4, (4, 8, 8)), 30
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        scan = scan_of()
        grey, labels = cut(scan, np.array([7.0, 9.0, 11.0]), np.eye(3), (8, 8, 12), None)
        grey = torch.where(labels == 1, 1.0, grey)
        losses = []
        for _ in range(optimizer_steps):
            logits = network(grey[None, None])
            assert logits.shape == (1, 4, 8, 8, 12)
            loss = dice_and_cross_entropy(logits, labels[None], scan.labelled[None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_the_learning_rate_rises_and_falls_with_the_time() -> None:
    settings = Settings(learning_rate=1.0, warm_up=0.1)
    rates = [settings.rate(share) for share in (0.0, 0.05, 0.1, 0.5, 1.0, 1.1)]
    assert 0 < rates[0] < rates[1] < rates[2]
    assert rates[2:4] == [pytest.approx(0.98, abs=0.01), pytest.approx(0.5)]
    assert rates[4:] == [0.0, 0.0]
