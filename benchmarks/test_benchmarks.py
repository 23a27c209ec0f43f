"""The benchmarks' own arithmetic, and their core functions on scans where every answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import (
    meter,
    published_schedule,
    search_time,
    timing,
)
from benchmarks.common import SeenOnce, cut_structures, evenly, held, in_view, listed_cases
from benchmarks.localize import (
    abdomen,
    absent,
    answers,
    crops,
    lungs,
    reach,
    template_count,
)
from benchmarks.pretrain import pool_layouts, pretrain_rate
from benchmarks.segment import body, finetune_sarcoma
from medlsam.errors import UsageError
from medlsam.evaluation.references import find_references
from medlsam.geometry import Box, Grid
from medlsam.io.cases import find_cases
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Support, build_templates
from medlsam.localize.localizer import Localizer
from medlsam.localize.medlam.network import PublishedNetwork
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.network.encoder import Encoder, EncoderConfig
from medlsam.results import LocatedOrgan
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Volume
from tests.support.fake_embedding import fake_embedding

NAMES = {1: "lung_left", 2: "lung_right"}
#: Low and high corners in the reference anatomy, mm.
PLACES = {1: ((-60.0, -40.0, -52.0), (-12.0, 20.0, 28.0)), 2: ((20.0, -36.0, -44.0), (72.0, 24.0, 40.0))}


class FakeLocalizer:
    """Every scan holds the same anatomy, around its own middle."""

    name, signature, device = "fake", "0" * 64, torch.device("cpu")

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, volume: Volume) -> Embedding:
        self.seen += 1
        x, y, z = volume.grid.box.center
        return fake_embedding((x, y, z))


def labelled(name: str, shift: tuple[float, float, float], without: Sequence[int] = ()) -> Support:
    """A scan of 256 mm around a place, with two boxes at their places in the anatomy."""
    grid = Grid((64, 64, 64), (4.0, 4.0, 4.0), tuple(s - 126.0 for s in shift))  # type: ignore[arg-type]
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for value, (low, high) in PLACES.items():
        if value not in without:
            # Voxels from the one whose low faces lie at the low corner up to, not with, the one at the high corner.
            first, last = (
                np.rint(grid.lps_to_ijk(np.add(corner, shift)) + 0.5).astype(int) for corner in (low, high)
            )
            labels[first[2] : last[2], first[1] : last[1], first[0] : last[0]] = value
    image = np.where(labels > 0, -800, 30).astype(np.int16)
    return Support(name, Volume(image, grid, Path(name)), Volume(labels, grid))


@pytest.fixture
def localizer() -> SeenOnce:
    return SeenOnce(FakeLocalizer())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "module", [abdomen, absent, body, finetune_sarcoma, lungs, search_time, template_count]
)
def test_a_script_says_how_it_is_run(module: Any) -> None:
    assert f"python benchmarks/{module.__name__.split('.')[-1]}.py" in module.__doc__
    assert module.main is not None


def test_a_scan_is_embedded_once(localizer: SeenOnce) -> None:
    scan, other = labelled("a", (0, 0, 0)).image, labelled("b", (0, 0, 0)).image
    assert localizer.embed(scan) is localizer.embed(scan)
    assert localizer.embed(scan) is not localizer.embed(other)
    assert localizer.passes == 2
    localizer.forget()
    localizer.embed(scan)
    assert localizer.passes == 3


def test_case_lists_are_thinned_evenly_and_checked(tmp_path: Path) -> None:
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("abc", 0) == evenly("abc", 9) == ["a", "b", "c"]
    for name in "abc":
        write_volume(labelled(name, (0, 0, 0)).image, tmp_path / "scans" / f"{name}.nii.gz")
    (tmp_path / "list.json").write_text(json.dumps({"good": ["c", "a"], "bad": ["a", "zebra"]}))
    assert [case.name for case in listed_cases(tmp_path / "scans", f"{tmp_path}/list.json:good", 0)] == [
        "c",
        "a",
    ]
    with pytest.raises(UsageError, match="zebra"):
        listed_cases(tmp_path / "scans", f"{tmp_path}/list.json:bad", 0)


def test_a_structure_is_cut_where_much_of_it_lies_in_an_end_slice() -> None:
    support = labelled("a", (0, 0, 0))
    assert support.labels is not None
    assert cut_structures(support, NAMES, 0.0) == set()
    assert held([support, labelled("b", (0, 0, 0), without=[1])], NAMES) == {"lung_right"}
    support.labels.array[-1, :12, :15] = 1
    support.labels.array[0, 0, 0] = 2
    assert cut_structures(support, NAMES, 0.0) == {"lung_left", "lung_right"}
    assert cut_structures(support, NAMES, 0.02) == {"lung_left"}, "one voxel of 13 x 15 is no cut"


def test_boxes_are_cut_to_what_was_scanned() -> None:
    view = Box((0, 0, 0), (10, 10, 10))
    assert in_view(Box((5, 5, 5), (15, 8, 8)), view) == Box((5, 5, 5), (10, 8, 8))
    assert in_view(Box((20, 5, 5), (30, 8, 8)), view) is None
    assert in_view(None, view) is None


class TestTemplateCount:
    def test_every_template_is_in_as_many_sets_as_any_other(self) -> None:
        items = ["a", "b", "c", "d", "e"]
        assert template_count.windows(items, 5) == [tuple(items)]
        threes = template_count.windows(items, 3)
        assert len(threes) == len({frozenset(chosen) for chosen in threes}) == 5
        assert all(sum(item in chosen for chosen in threes) == 3 for item in items)

    def test_known_answers(self, localizer: SeenOnce, tmp_path: Path) -> None:
        for name, shift in (("q", (8.0, -4.0, 12.0)), ("r", (-12.0, 8.0, 0.0))):
            query = labelled(name, shift)
            assert query.labels is not None
            write_volume(query.image, tmp_path / "scans" / f"{name}.nii.gz")
            write_volume(query.labels, tmp_path / "labels" / f"{name}.nii.gz")
        supports = [labelled("a", (0, 0, 0)), labelled("b", (20, 4, -8))]
        sets = template_count.build_sets(localizer, supports, NAMES, [1, 2])
        assert {count: len(own) for count, own in sets.items()} == {1: 2, 2: 1}
        assert localizer.passes == 2, "every template is embedded once for all sets"
        references = find_references(tmp_path / "labels", NAMES)
        scores = template_count.measure(localizer, sets, find_cases(tmp_path / "scans"), references)
        result = template_count.summary(scores, list(NAMES.values()))
        for count in ("1", "2"):
            assert result[count]["organs"]["lung_left"]["n"] == 2
            assert result[count]["mean"]["wall_distance_mm"]["mean"] < 6.0
        assert result["1"]["mean"]["iou"]["n"] == 2, "over two sets"
        assert len(template_count.tables(result, 2)) == 1


class TestLungs:
    def test_sets_are_of_other_patients_that_hold_the_structure_whole(self) -> None:
        first, second = lungs.ONE_LUNG
        whole = {
            "a": {"lung_right"},
            "b": {"lung_right"},
            first: {"lung_right"},
            second: {"lung_right"},
            "c": set(),
        }
        assert lungs.template_sets(first, "lung_right", whole, 2, 0) == [("a", "b")]
        sets = lungs.template_sets("a", "lung_right", whole, 2, 0)
        assert sets == [("b", first), ("b", second)], "not both scans of one patient"
        assert lungs.template_sets("a", "lung_right", whole, 2, 1) in ([sets[0]], [sets[1]])

    def test_known_answers(self, localizer: SeenOnce) -> None:
        scans = [
            labelled(name, (8.0 * i, -4.0 * i, 4.0 * i)) for i, name in enumerate((lungs.UNSEEN, "b", "c"))
        ]
        cut = labelled("d", (0, 0, 0))
        assert cut.labels is not None
        cut.labels.array[:30] = cut.labels.array[30]
        trials = lungs.measure(localizer, [*scans, cut], NAMES, ["lung_left"])
        assert {(t.scan, t.group) for t in trials} == {
            (lungs.UNSEEN, "chest"),
            ("b", "chest"),
            ("c", "chest"),
            ("d", "cut"),
        }
        assert len(trials) == 3 + 3, "one pair of the two other whole ones; three pairs for the cut one"
        assert all("d" not in t.templates and t.scan not in t.templates for t in trials)
        assert min(t.iou for t in trials if t.group == "chest") > 0.6
        result = lungs.summary(trials)
        assert result["chest"]["n"] == 3
        assert result[lungs.UNSEEN]["n"] == 1
        assert len(lungs.tables(trials, result, 2)) == 2


class TestAbsent:
    def test_heights_are_kept_in_place(self) -> None:
        volume = labelled("a", (0, 0, 0)).image
        kept = crops.keep_heights(volume, -20.0, 30.0)
        assert kept.grid.box.min[2] == pytest.approx(-20.0)
        assert kept.grid.box.max[2] == pytest.approx(32.0)
        k = round(float(volume.grid.lps_to_ijk(kept.grid.origin_xyz)[2]))
        assert np.array_equal(kept.array[0], volume.array[k])

    def test_what_a_crop_makes_of_each_structure(self) -> None:
        volume = labelled("a", (0, 0, 0)).image
        boxes = {"low": Box((0, 0, -110), (10, 10, -80)), "high": Box((0, 0, 60), (10, 10, 100))}
        found = {crop.name: crop for crop in crops.crops(volume, boxes, ["high", "low", "nowhere"])}
        assert set(found) == {"without high", "half of high", "without low", "half of low"}
        assert found["without high"].truth == {"high": "absent", "low": "present"}
        assert found["without high"].volume.grid.box.max[2] <= 60 - crops.GAP_MM + 4
        assert found["half of high"].truth == {"high": "halved", "low": "present"}
        assert found["without low"].volume.grid.box.min[2] >= -80 + crops.GAP_MM - 4
        tall = {"tall": Box((0, 0, -70), (10, 10, 70))}
        assert [crop.name for crop in crops.crops(volume, tall, ["tall"])] == ["half of tall"], (
            "too little is left"
        )

    def test_phantoms_lack_the_organ_that_was_removed(self, localizer: SeenOnce) -> None:
        regions = {"neck": ((630.0, 820.0), ("mandible", "larynx"))}
        found = absent.phantom_answers(localizer, [5], regions, templates=(1,), spacing_mm=6.0)
        removed = {a.organ: a for a in found if a.truth == "absent"}
        assert set(removed) == {"mandible", "larynx"}
        assert removed["larynx"].scan == "person 5 without larynx"
        assert "thyroid" in {a.organ for a in found if a.truth == "present"}
        assert not {"spinal_cord", "vertebrae"} & {a.organ for a in found}, "both are cut by the ends"

    def test_shares_by_hand(self) -> None:
        def said(truth: str, status: str, group: str = "real") -> answers.Answer:
            return answers.Answer(group, "scan", "organ", truth, status, 0.5)

        given = [
            *(said("absent", status) for status in ("missing", "out_of_view", "uncertain", "found")),
            said("absent", "missing", "phantom, head"),
            said("present", "missing"),
            said("present", "found"),
            said("halved", "found"),
        ]
        result = answers.summary(given)
        assert list(result["groups"]) == [
            "absent: real",
            "absent: phantom, head",
            "halved: real",
            "present: real",
        ]
        assert result["groups"]["absent: real"] == {
            **dict.fromkeys(answers.STATUSES, 0.25),
            "n": 4,
            "not_there": 0.5,
        }
        assert result["in_all"]["absent"]["not_there"] == pytest.approx(0.6)
        assert result["in_all"]["absent, phantoms"] == {**_none_but(missing=1.0), "n": 1, "not_there": 1.0}
        assert result["in_all"]["present"]["not_there"] == 0.5
        assert result["in_all"]["present, phantoms"]["not_there"] is None
        assert len(answers.tables(result)) == 2


def _none_but(**shares: float) -> dict[str, float]:
    return dict.fromkeys(answers.STATUSES, 0.0) | shares


class TestAbdomen:
    def test_the_part_in_view_is_compared_and_drawn(self, tmp_path: Path, localizer: SeenOnce) -> None:
        names = {1: "liver", 2: "spleen", 3: "aorta"}
        support = labelled("slab", (0, 0, 0))
        (low, high), (far_low, far_high) = PLACES[1], PLACES[2]
        assert support.labels is not None
        found = {
            "liver": LocatedOrgan("liver", "found", 0.9, box=Box(low, high)),
            "spleen": LocatedOrgan("spleen", "missing", 0.1, box=Box(far_low, (*far_high[:2], 400.0))),
            "aorta": LocatedOrgan("aorta", "found", 0.9, box=Box((0, 0, 0), (10, 10, 10))),
        }
        rows = {row["organ"]: row for row in abdomen.compare(found, support, names)}
        assert set(rows) == {"liver", "spleen"}, "the aorta is not labelled"
        assert rows["liver"]["iou"] > 0.8
        # What lies above the scan is left out: 40 of 128 - 44 mm in z remain to be missed.
        assert rows["spleen"]["iou"] == pytest.approx(84 / 172, abs=0.05)
        assert rows["spleen"]["status"] == "missing"
        assert abdomen.statuses(found, ["liver", "spleen"])["missing"] == ["spleen"]
        templates = build_templates(localizer, [support], names)  # type: ignore[arg-type]
        del found["aorta"]
        written = abdomen.pictures(tmp_path, "slab", support.image, found, templates, support.labels)
        assert [path.name for path in written] == ["slab.png", "slab_organs.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


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
    def test_the_published_network_is_scaled_up(self, localizer: SeenOnce, search: str) -> None:
        support = labelled("a", (0, 0, 0))
        templates = build_templates(
            localizer,  # type: ignore[arg-type]
            [support],
            NAMES,
            organs=["lung_left"],
            calibrate=False,
        )
        torch.manual_seed(0)
        paper = Localizer("paper", PublishedNetwork(base=1).eval(), "1" * 64, torch.device("cpu"))
        small = crops.keep_heights(support.image, -20.0, 20.0)
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


@pytest.mark.realdata
def test_what_is_said_of_the_real_scans_is_there(real_ct: Path) -> None:
    body = real_ct / "body"
    scans = {path.name for path in body.iterdir()}
    assert {*absent.WITHOUT_HEAD_NECK, *absent.WITHOUT_PELVIS, *lungs.CHEST, *lungs.ONE_LUNG} <= scans
    names = set(json.loads((body / absent.ABDOMEN_TEMPLATE / "labels.json").read_text()))
    assert {*absent.ABDOMINAL, *absent.PELVIC} <= names
    assert set(absent.BOUNDED) <= set(
        json.loads((real_ct / "openkbp" / "dataset.json").read_text())["labels"]
    )


def test_every_way_to_reach_is_scored_on_the_same_templates() -> None:
    localizer = FakeLocalizer()
    supports = [labelled(name, (shift, 0.0, 0.0)) for name, shift in (("a", 0.0), ("b", 20.0))]
    templates = build_templates(localizer, supports, NAMES)  # type: ignore[arg-type]
    fixed = reach.with_reach(templates, ("strong", "none", "gentle"))
    assert {c.probe_trust for c in fixed.calibration.values()} == {("strong", "none", "gentle")}
    assert reach.with_reach(templates, None) is templates
    scores: reach.Scores = {}
    low, high = PLACES[1]
    reach.add_scores(scores, localizer.embed(supports[0].image), templates, {"lung_left": Box(low, high)})
    assert set(scores) == set(reach.WAYS)
    assert reach.mean(scores["none"])[0] > 0.8


def test_sarcomas_are_trained_on_or_judged_by_never_both() -> None:
    assert (len(finetune_sarcoma.TRAIN), len(finetune_sarcoma.JUDGE)) == (8, 6)
    assert not set(finetune_sarcoma.TRAIN) & set(finetune_sarcoma.JUDGE)
    table = finetune_sarcoma.by_patient({"held_out": {"by_patient": {"sts_009": [0.5, 0.75]}}})
    assert [list(column.cells) for column in table.columns] == [["sts_009"], ["0.500"], ["0.750"], ["+0.250"]]


def test_every_layout_of_the_pool_gives_the_same_crops(tmp_path: Path) -> None:
    """Those of 16 bits to the whole HU, those of 8 to a step of the table."""
    array = np.random.default_rng(0).normal(0, 40, (70, 66, 80)).astype(np.float32)
    scan = Volume(array, Grid(array.shape, (4.0, 4.0, 4.0)))
    where = [slice(3, 67), slice(1, 65), slice(10, 74)]
    found = pool_layouts.layouts()
    assert len(found) >= 3
    for n, layout in enumerate(found):
        layout.write(tmp_path / str(n), scan)
        crop = layout.read(tmp_path / str(n))(where)
        assert crop.dtype == np.float32
        assert np.abs(crop - array[tuple(where)]).max() <= (0.5 if "int16" in layout.name else 2.1)


def test_a_pretraining_run_is_worked_out_from_its_rates() -> None:
    second = (1.0, 1.0, 1.0)
    rates = pretrain_rate.Rates(
        (0.005, 0.004, 0.006), 4.0, second, second, 1e12, (5.0, 1.0), 60, second, 100.0
    )
    assumed = pretrain_rate.Assumed(draws=100, peak=1e15, fractions=[0.1, 0.2], price=3.0, gpus=8)
    table = pretrain_rate.projected(rates, assumed, batch=50)
    columns = [list(column.cells) for column in table.columns]
    rows = dict(zip(columns[0], columns[2], strict=True))  # of 100,000 scans
    assert rows["stored pool, GB"] == "500"
    assert rows["steps of 50 draws"] == "200,000"
    assert rows["operations, EFLOP"] == "10.0"
    assert rows["GPU hours"] == "28 / 14"  # 1e19 operations at 1e14 or 2e14 a second
    assert rows["hours on 8 GPUs"] == "3.5 / 1.7"
    assert rows["cost of the GPUs, USD"] == "83 / 42"
    assert rows["draws a second that a GPU eats"] == "100 / 200"
    assert rows["loader processes that keep it busy"] == "0.5 / 1.0"
    assert rows["read from the pool and copied to each GPU, MB/s"] == "400 / 800"


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
