"""The arithmetic of the timings: what is counted, worked out and put into a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import meter, published_schedule, search_time, timing
from benchmarks.common import SeenOnce
from benchmarks.localize.status import crops
from medlsam.localize.build_templates import build_templates
from medlsam.localize.localizer import Localizer
from medlsam.localize.medlam.network import PublishedNetwork
from medlsam.localize.network.encoder import Encoder, EncoderConfig
from medlsam.segment.prompts import SlicePrompt
from tests.support.fakes.fake_localizer import NAMES, FakeLocalizer, labelled


class TestSearchTime:
    def test_cubes_and_scans_are_counted(self) -> None:
        network = PublishedNetwork(base=1).eval()
        cubes = torch.zeros(3, 1, 64, 64, 64)
        with timing.counted(network) as count, torch.inference_mode():
            network.positions(cubes)
            network.positions(cubes[:1])
        assert count == [4]
        with torch.inference_mode():
            network.positions(cubes[:1])
        assert count == [4], "only while the block runs"

    def test_medians_and_range(self) -> None:
        embed, locate = (
            np.array([[1.0, 2.0], [5.0, 6.0], [2.0, 9.0]]),
            np.array([[0.5, 1.0], [0.5, 1.0], [3.0, 1.0]]),
        )
        row = timing.Times(2, list(embed), list(locate)).row()
        assert (row["embed_s"], row["locate_s"], row["total_s"]) == (2.0, 0.5, 5.0)
        assert row["total_range_s"] == [1.5, 5.5]
        assert row["processor_s"] == 7.0

    def test_the_papers_schedule(self) -> None:
        encoder = Encoder(EncoderConfig(channels=(2, 2, 2, 2))).eval()
        own = Localizer("tiny", encoder, "0" * 64, torch.device("cpu"))
        scan = labelled("a", (0, 0, 0)).image
        with torch.inference_mode():
            times = search_time.cube_by_cube(own, scan, structures=2, repeats=1)
        assert times.passes == 10 + 6 * 2
        assert len(times.locate) == 1

    @pytest.mark.parametrize("search", ["consensus", "random-start"])
    def test_the_published_network_is_scaled_up(self, search: str) -> None:
        template = labelled("a", (0, 0, 0))
        templates = build_templates(
            SeenOnce(FakeLocalizer()),  # type: ignore[arg-type]
            [template],
            NAMES,
            organs=["lung_left"],
            calibrate=False,
        )
        torch.manual_seed(0)
        paper = Localizer("paper", PublishedNetwork(base=1).eval(), "1" * 64, torch.device("cpu"))
        small = crops.keep_heights(template.image, -20.0, 20.0)
        with torch.inference_mode():
            cost = search_time.patch_cost(paper, small, templates, search)
        if search == "random-start":
            assert cost.start_cubes == 10
            assert cost.structure_cubes == 6 + 6, "around the six points, and read for the status"
        else:
            assert cost.start_cubes > 30
            assert 0 < cost.structure_cubes < 6 + 6 + 6, "windows that overlap share cubes"
        times = cost.times(30)
        assert times.passes == cost.start_cubes + 30 * cost.structure_cubes
        assert times.locate[0] == pytest.approx(cost.starts + 30 * cost.structure)
        row = times.row()
        lines = search_time.tables({"30": {"consensus": row, "published": row}}, "title")
        assert lines[0].row_count == 2


class Thing:
    """Something with a function to be metered."""

    def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def test_a_meter_counts_items_and_operations_and_leaves_no_trace() -> None:
    thing = Thing()
    with meter.Meter(thing, "product") as seen:
        for count in (2, 6):
            thing.product(torch.ones(count, 4, 5), torch.ones(count, 5, 3))
    assert (seen.calls, seen.items) == (2, 8)
    assert seen.gflop == pytest.approx(8 * 2 * 4 * 5 * 3 / 1e9)
    assert seen.seconds > 0
    assert not vars(thing)


def test_attention_is_counted() -> None:
    q = torch.ones(1, 2, 16, 8)
    flops = meter.flops_of(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
    assert flops == pytest.approx(2 * 2 * 2 * 16 * 16 * 8 / 1e9)


def test_slices_of_a_schedule_are_spread_and_hold_all_their_boxes() -> None:
    prompts = {"a": [SlicePrompt(z, (0, 0, 4, 4)) for z in range(9)], "b": [SlicePrompt(8, (1, 1, 4, 4))]}
    chosen = published_schedule.slices_of(prompts, 3)
    assert [z for z, _ in chosen] == [0, 4, 8]
    assert sorted(chosen[-1][1]) == ["a", "b"]


def test_cubes_are_timed() -> None:
    encoder = Encoder(EncoderConfig(channels=(2, 2, 2, 2), blocks=(1, 1, 1, 1), feature_dim=2)).eval()
    assert published_schedule.cube_seconds(encoder, np.zeros((20, 20, 20)), 2, 1) > 0
