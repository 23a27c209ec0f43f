"""One scan of 512 x 512 x 200 voxels, 14 structures: the published order of work and ours, timed in one run.

    python benchmarks/speed.py [--segmenter sam-tiny] [--slices 6] [--json FILE]

Both orders use the same scan (a phantom, read from a .nii.gz), networks, weights, located boxes and prompts, and no
mask is handed on from slice to slice, which the published one does not do; the column "by default" does. What the
published one does is written down in ``benchmarks/published_schedule.py``. SAM ViT-B has random weights: times do not
depend on them. Every column is a process of its own, so that its peak memory is its own. Seconds marked ~ are
extrapolated: a pass of cubes is timed five times and multiplied by the passes that the schedule makes; templates are
taken to be scans of this size, each read and resampled as this one is, without their labels; ViT-B runs on ``--slices``
slices and is multiplied by the slices and boxes of the whole scan. All else is run in full.

Prints seconds by phase, peak memory, passes and operations of the networks, the rate that they reach as a share of this
machine's own matrix products, the overlap of both orders' masks, and what 30 structures cost to locate beside one.
Ten minutes on two cores, with nothing else running.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medlsam
from benchmarks import published_schedule as published
from benchmarks.common import answer, command, options, progress
from benchmarks.meter import Meter, matmul_rate, peak_gb
from benchmarks.published_schedule import seconds_of
from benchmarks.speed_tables import Column, ratios_of, structures_of, table_of
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.network import embedding as embedding_module
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.phantoms import phantom
from medlsam.pipeline.prompts import scan_requests
from medlsam.runtime.device import autocast_dtype
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import assemble
from medlsam.volume import Image, resample, to_canonical

TEMPLATES, SCAN = (1, 2, 3, 4, 5), 11
HEIGHTS, SHAPE, SPACING = (180.0, 670.0), (200, 512, 512), (0.8, 0.8, 2.45)
STRUCTURES, MANY = 14, 30
COLUMNS = ("sam-tiny, published", "sam-tiny, ours", "by default", "ViT-B, published", "ViT-B, ours")


def make(folder: Path, localizer: str) -> None:
    """Write the scan and the templates."""
    loaded = load_localizer(localizer, "cpu", precision="float32")
    made = [phantom(seed, (3.0,) * 3, HEIGHTS) for seed in TEMPLATES]
    templates = [Template(f"template {i}", one.image, one.labels) for i, one in enumerate(made)]
    build_templates(loaded, templates, made[0].names, calibrate=False).save(folder / "t.medlsam")
    scan = phantom(SCAN, (2.5,) * 3, HEIGHTS, fov_mm=SHAPE[1] * SPACING[0]).image
    size = np.asarray(SHAPE[::-1]) * SPACING
    x, y, z = np.asarray(scan.grid.box.center) - size / 2 + np.asarray(SPACING) / 2
    hu = resample(scan, Grid(SHAPE, SPACING, (float(x), float(y), float(z)))).array
    hu += np.random.default_rng(0).normal(0, 10, hu.shape).astype(np.float32)
    grid = Grid(SHAPE, SPACING, (float(x), float(y), float(z)))
    write_volume(Image(np.rint(hu).astype(np.int16), grid), folder / "scan.nii.gz")


def tiny_ours(job: dict[str, Any]) -> Column:
    """Ours from the file to the written labels; also locates 1 and 30 structures, and keeps what the others need."""
    folder, column, stopwatch = Path(job["folder"]), Column(), Stopwatch()
    model = medlsam.load(localizer=job["localizer"], segmenter=job["segmenter"], device="cpu")
    templates = TemplateSet.load(folder / "t.medlsam")
    network: Any = model.segmenter
    with (
        Meter(embedding_module, "encode") as localizer,
        Meter(network.quick, "encode") as encoder,
        Meter(network.quick, "decode") as decoder,
    ):
        scan = folder / "scan.nii.gz"
        found = model.segment(
            scan, templates, stopwatch=stopwatch, organs=job["organs"], propagate=job["propagate"]
        )
        with stopwatch("write"):
            write_volume(found.labels, folder / "ours.nii.gz")
        column.peak = peak_gb()
    for name, meter in (("localizer", localizer), ("encoder", encoder), ("decoder", decoder)):
        column.meter(name, meter)
    column.seconds = dict(stopwatch.seconds)
    if job["propagate"]:
        return column
    assert found.image is not None
    seen = model.embed(found.image)
    for count in (1, MANY):
        chosen = templates.select(templates.structures[:count])
        column.passes[f"locate {count}, s"] = float(
            np.median([seconds_of(partial(locate, seen, chosen))[0] for _ in range(5)])
        )
    with (folder / "found.pkl").open("wb") as file:
        pickle.dump((found.localization, found.labels.array), file)
    return column


def located_prompts(folder: Path) -> tuple[Image, dict[str, Any], Any]:
    """The canonical scan, the prompts of the structures located in it, and the labels that ours gave."""
    with (folder / "found.pkl").open("rb") as file:
        localization, labels = pickle.load(file)
    scan = to_canonical(read_image(folder / "scan.nii.gz"))
    requests, _ = scan_requests(localization, scan.grid)
    return scan, {name: own.prompts for name, own in requests.items()}, (localization, labels)


def tiny_published(job: dict[str, Any]) -> Column:
    """The published order with the same networks, boxes and prompts; passes of cubes are extrapolated."""
    folder, column = Path(job["folder"]), Column()
    column.seconds["read"], (array, spacing) = seconds_of(
        lambda: published.read_as_published(folder / "scan.nii.gz")
    )
    column.seconds["resample"], hu = seconds_of(lambda: published.resample_as_published(array, spacing))
    model = medlsam.load(
        localizer=job["localizer"], segmenter=job["segmenter"], device="cpu", precision="float32"
    )
    network: Any = model.localizer.network
    with Meter(network, "forward") as localizer:
        six = published.cube_seconds(network, hu, published.PER_STRUCTURE, 5)
        ten = published.cube_seconds(network, hu, published.STARTS, 5)
    structures = len(job["organs"])
    column.seconds |= {
        "read templates": len(TEMPLATES) * (column.seconds["read"] + column.seconds["resample"]),
        "embed templates": len(TEMPLATES) * structures * six,
        "embed": ten,
        "locate": structures * six,
    }
    column.guessed |= {"read templates", "embed templates", "locate"}
    cubes = published.STARTS + published.PER_STRUCTURE * structures * (1 + len(TEMPLATES))
    column.meter("localizer", localizer, cubes / localizer.items)
    scan, prompts, (_, ours) = located_prompts(folder)
    segmenter: Any = model.segmenter
    with Meter(segmenter.quick, "encode") as encoder, Meter(segmenter.quick, "decode") as decoder:
        own = Stopwatch()
        blocks = published.tiny_as_published(segmenter, scan, prompts, own)
    column.meter("encoder", encoder)
    column.meter("decoder", decoder)
    column.seconds |= own.seconds
    column.seconds["write"], _ = seconds_of(lambda: published.written_as_published(blocks, scan))
    column.peak = peak_gb()
    values = {name: value for value, name in enumerate(job["organs"], start=1)}
    theirs = assemble(blocks, {name: values[name] for name in blocks}, scan.array.shape)
    names = {name: job["values"][name] for name in blocks}
    overlap = [dice(ours == names[name], theirs == values[name]) for name in blocks]
    column.passes["dice, mean"], column.passes["dice, least"] = float(np.mean(overlap)), min(overlap)
    return column


def vit_b(job: dict[str, Any]) -> Column:
    """ViT-B on a few slices, one way or the other; the masks are kept for comparison."""
    folder, column, old = Path(job["folder"]), Column(), job["published"]
    scan, prompts, _ = located_prompts(folder)
    distinct = len({p.z for own in prompts.values() for p in own})
    boxes_in_all = sum(map(len, prompts.values()))
    model: Any = published.random_vit_b(old).model
    encode = decode = 0.0
    boxes, masks = 0, []
    chosen = published.slices_of(prompts, job["slices"])
    model.encode(scan.array[chosen[0][0]])  # the first pass of a process is slower than all others
    shape = scan.array.shape[1:]
    with Meter(model.network.image_encoder, "forward") as encoder:
        for z, here in chosen:
            seconds, embedded = seconds_of(partial(model.encode, scan.array[z]))
            encode += seconds
            own = np.array([p.box_xyxy for group in here.values() for p in group])
            boxes += len(own)
            for part in np.split(own, len(own)) if old else [own]:
                seconds, logits = seconds_of(partial(model.decode, embedded, part, shape))
                decode += seconds
                masks.append(logits.numpy() > 0)
    passes = boxes_in_all if old else distinct
    column.seconds = {
        "encode": encode / len(chosen) * passes,
        "decode": decode / boxes * boxes_in_all,
    }
    column.guessed = {"encode", "decode"}
    column.meter("encoder", encoder, passes / len(chosen))
    column.passes["decoder"] = boxes_in_all
    column.peak = peak_gb()
    np.save(folder / f"vit_b_{old}.npy", np.concatenate(masks))
    return column


def in_a_process(work: Any, job: dict[str, Any]) -> Column:
    """Measure in a fresh process, whose peak is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        column: Column = pool.apply(work, (job,))
    return column


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file of that kind")
    parser.add_argument(
        "--slices", type=int, default=6, help="slices on which ViT-B is timed; 0 leaves it out"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep scan and templates here, and use those that are here"
    )
    arguments = parser.parse_args()
    rates = {"float32": matmul_rate(torch.float32)}
    if autocast_dtype(torch.device("cpu")) is torch.bfloat16:
        rates["bfloat16"] = matmul_rate(torch.bfloat16)
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(arguments.folder or temporary)
        if not (Path(folder) / "scan.nii.gz").exists():
            Path(folder).mkdir(parents=True, exist_ok=True)
            make(Path(folder), arguments.localizer)
        templates = TemplateSet.load(Path(folder) / "t.medlsam")
        names = list(templates.structures[:STRUCTURES])
        job: dict[str, Any] = {
            "folder": folder, "localizer": arguments.localizer, "segmenter": arguments.segmenter,
            "organs": names, "propagate": False, "slices": arguments.slices, "values": dict(templates.values),
        }  # fmt: skip
        ours = in_a_process(tiny_ours, job)
        progress(f"{COLUMNS[1]}: {ours.total:.1f} s")
        old = in_a_process(tiny_published, job)
        progress(f"{COLUMNS[0]}: {old.total:.1f} s")
        usual = in_a_process(tiny_ours, {**job, "propagate": True})
        progress(f"{COLUMNS[2]}: {usual.total:.1f} s")
        columns = {COLUMNS[0]: old, COLUMNS[1]: ours, COLUMNS[2]: usual}
        overlap: dict[str, list[float]] = {"sam-tiny": [old.passes["dice, mean"], old.passes["dice, least"]]}
        if arguments.slices > 0:
            both = [in_a_process(vit_b, {**job, "published": way}) for way in (True, False)]
            for name, own, rest in zip(COLUMNS[3:], both, (old, ours), strict=True):
                same = {phase: s for phase, s in rest.seconds.items() if phase not in ("encode", "decode")}
                own.seconds |= same
                own.guessed |= rest.guessed
                columns[name] = own
            theirs, mine = (np.load(Path(folder) / f"vit_b_{way}.npy") for way in (True, False))
            each = [dice(a, b) for a, b in zip(mine, theirs, strict=True)]
            overlap["SAM ViT-B"] = [float(np.mean(each)), min(each)]
    title = (
        f"{SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]} voxels, {STRUCTURES} structures of {len(TEMPLATES)} templates, "
        f"{torch.get_num_threads()} threads; products: "
        + ", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in rates.items())
    )
    pairs = [(COLUMNS[0], COLUMNS[1]), (COLUMNS[3], COLUMNS[4])][: len(overlap)]
    compared, ratios = ratios_of(columns, dict(zip(overlap, pairs, strict=True)), overlap)
    told, structures = structures_of(ours, MANY)
    document: dict[str, Any] = {
        "title": title, "gflop_per_s": rates, "dice": overlap, "ratios": ratios, "structures": structures,
        "columns": {name: column.to_dict() for name, column in columns.items()},
    }  # fmt: skip
    answer([table_of(columns, rates, title), compared, told], document, arguments.json)


if __name__ == "__main__":
    command(main)
