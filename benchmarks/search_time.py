"""Seconds to locate few and many structures in one scan: our search, the paper's, and the paper's network.

    python benchmarks/search_time.py [--structures 7,10,30] [--repeats 3] [--scaled 3] [--json FILE]

The scan and the five templates are phantoms of the trunk, so it runs anywhere; templates are built beforehand and not
counted. Every row looks for 7, 10 and 30 structures. The first three are the same encoder:

- consensus: one pass over the scan, which is aligned with every template's;
- random-start: the paper's mode, read off the same one pass;
- random-start, cube by cube: the paper's schedule, 10 cubes of 64 voxels at random places, then 6 around the extreme
  points of every structure (the passes alone, without the search in them: its least time).

The other two are the paper's network with random weights (times do not depend on them) through the package's own patch
search, in both modes; that adds, per structure, 6 cubes that are read for its status. A cube takes seconds on a laptop,
so `--scaled` structures are timed, once, with one template, and their seconds scaled up; 0 leaves these rows out.

Prints medians over the repeats: passes of the network (cubes or scans), seconds of embed and of locate, and the seconds
that the processors worked, which depend less on what else runs. Some minutes on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from benchmarks.common import answer, command, options, progress
from benchmarks.timing import Seconds, Times, counted, timed
from medlsam.errors import UsageError
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.medlam.kernels import CELLS
from medlsam.localize.medlam.network import PublishedNetwork
from medlsam.localize.network.embedding import encoder_grid
from medlsam.localize.network.encoder import Encoder, normalise_hu
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.options import SEARCHES, LocateOptions
from medlsam.phantoms import phantom
from medlsam.volume import Image, resample

TEMPLATES, SCAN = (1, 2, 3, 4, 5), 11
HEIGHTS = (180.0, 670.0)
#: The paper's schedule: starts, and cubes around each structure's extreme points.
STARTS, PER_STRUCTURE = 10, 6
CUBE = 64


def searched(localizer: Localizer, scan: Image, templates: TemplateSet, search: str, repeats: int) -> Times:
    """Embed and locate, again from nothing in every repeat."""
    times = Times()
    for _ in range(repeats):
        with counted(localizer.network) as count:
            seconds, embedding = timed(lambda: localizer.embed(scan))
            times.embed.append(seconds)
            times.locate.append(timed(partial(locate, embedding, templates, LocateOptions(search=search)))[0])
        times.passes = count[0]
    return times


def cube_by_cube(localizer: Localizer, scan: Image, structures: int, repeats: int) -> Times:
    """The paper's schedule of passes through a dense encoder: cubes around random places of the scan."""
    encoder = localizer.network
    assert isinstance(encoder, Encoder)
    config, times, generator = encoder.config, Times(), np.random.default_rng(0)
    for _ in range(repeats):

        def prepare() -> Tensor:
            hu = resample(scan, encoder_grid(scan.grid, config.spacing_mm)).array
            return normalise_hu(
                torch.from_numpy(np.pad(hu.astype(np.float32), CUBE // 2, mode="edge")), config
            )

        seconds, values = timed(prepare)
        times.embed.append(seconds)
        room = [n - CUBE for n in values.shape]
        places = [
            tuple(int(generator.integers(n + 1)) for n in room)
            for _ in range(STARTS + PER_STRUCTURE * structures)
        ]

        def run(values: Tensor = values, places: list[Any] = places) -> None:
            for z, y, x in places:
                encoder(values[z : z + CUBE, y : y + CUBE, x : x + CUBE][None, None].to(localizer.device))

        with counted(encoder) as count:
            times.locate.append(timed(run)[0])
        times.passes = count[0]
    return times


@dataclass(frozen=True)
class PatchCost:
    """What a patch search with the published network takes: once a scan, and for each structure.

    Attributes:
        embed: to resample the scan.
        starts: of the starts, which all structures share.
        start_cubes: cubes of the starts.
        structure: per structure.
        structure_cubes: cubes per structure.
    """

    embed: Seconds
    starts: Seconds
    start_cubes: int
    structure: Seconds
    structure_cubes: float

    def times(self, structures: int) -> Times:
        """For a number of structures, by multiplication."""
        cubes = self.start_cubes + round(self.structure_cubes * structures)
        return Times(cubes, [self.embed], [self.starts + self.structure * structures])


def patch_cost(localizer: Localizer, scan: Image, templates: TemplateSet, search: str) -> PatchCost:
    """Time a patch search.

    Args:
        localizer: with a ``PublishedNetwork``.
        scan: to search.
        templates: structures to time it on, from any localizer: only their places are used.
        search: ``consensus`` or ``random-start``.
    """
    middle = np.asarray(scan.grid.box.center)
    with counted(localizer.network) as count:
        embed, embedding = timed(lambda: localizer.embed(scan))
        around = embedding.latents(middle[None])[0]
        asked = random_templates(templates, localizer, around, torch.Generator().manual_seed(0))
        before = count[0]
        if search == "consensus":
            starts = timed(embedding.starts)[0]  # kept by the embedding: locate does not make them again
            cubes, again = count[0] - before, np.zeros(2)
        else:
            again = starts = timed(lambda: embedding.latents(middle + np.zeros((STARTS, 1))))[0]
            cubes = STARTS
        before = count[0]
        own = timed(lambda: locate(embedding, asked, LocateOptions(search=search)))[0] - again
        structures = len(asked.structures)
        own_cubes = count[0] - before - (0 if search == "consensus" else STARTS)
    return PatchCost(embed, starts, cubes, own / structures, own_cubes / structures)


def random_templates(
    templates: TemplateSet, localizer: Localizer, around: Tensor, generator: torch.Generator
) -> TemplateSet:
    """The same structures with random latents and kernels: reading real ones takes a pass for each place.

    Args:
        templates: of any localizer.
        localizer: with a ``PublishedNetwork``.
        around: (3,) latent position near which all are, for their cubes to lie in the scan.
        generator: the only source of chance.
    """
    network = localizer.network
    assert isinstance(network, PublishedNetwork)
    length = CELLS * network.channels

    def template(own: StructureTemplate) -> StructureTemplate:
        kernels = torch.nn.functional.normalize(torch.randn(6, length, generator=generator), dim=-1)
        latents = around + 0.02 * torch.randn(6, 3, generator=generator)
        none = np.zeros(0, np.float32)
        marked = replace(own, points=own.points[:6], probe_gram=none, probe_target=none)
        return replace(marked, latents=latents.numpy(), features=kernels.numpy())

    scans: dict[str, tuple[StructureTemplate, ...]] = {
        name: (template(group[0]),) for name, group in templates.by_structure.items()
    }
    return replace(templates, by_structure=scans, signature=localizer.signature)


def tables(result: dict[str, dict[str, Any]], title: str) -> list[Table]:
    """One line per number of structures and way of searching, with its time as a multiple of the first way's."""
    table = Table(title=title, box=SIMPLE_HEAD, caption="medians; least and most of the total beside it")
    for head in (
        "structures",
        "search",
        "passes",
        "embed s",
        "locate s",
        "total s",
        "processor s",
        "of consensus",
    ):
        table.add_column(head, justify="left" if head == "search" else "right")
    for count, rows in result.items():
        base = rows["consensus"]["total_s"]
        for name, row in rows.items():
            low, high = row["total_range_s"]
            total = f"{row['total_s']:.2f}" + (f" ({low:.2f} to {high:.2f})" if row["n"] > 1 else "")
            table.add_row(
                count, name, str(row["passes"]), f"{row['embed_s']:.2f}", f"{row['locate_s']:.2f}", total,
                f"{row['processor_s']:.2f}", f"{row['total_s'] / base:.1f} ×",
            )  # fmt: skip
        table.add_section()
    return [table]


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--structures", default="7,10,30", help="numbers of structures to look for")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--scaled", type=int, default=3, help="structures to time the published network on; 0: none"
    )
    parser.add_argument("--spacing", type=float, default=3.0, help="voxel spacing of the phantoms, mm")
    arguments = parser.parse_args()
    localizer = load_localizer(arguments.localizer, arguments.device)
    if localizer.kind != "dense":
        raise UsageError(
            f"{localizer.name}: a dense encoder is timed here; the paper's network has its own row"
        )
    spacing = (arguments.spacing,) * 3
    made = [phantom(seed, spacing, HEIGHTS) for seed in TEMPLATES]
    scans = [Template(f"template {i}", one.image, one.labels) for i, one in enumerate(made)]
    templates = build_templates(localizer, scans, made[0].names, calibrate=False)
    scan = phantom(SCAN, spacing, HEIGHTS).image
    # The first pass of a process is slower than all others.
    searched(localizer, scan, templates, "consensus", 1)
    costs = {}
    if arguments.scaled > 0:
        where = localizer.device
        paper = Localizer("random weights", PublishedNetwork().eval().to(where), "0" * 64, where)
        some = templates.select(templates.structures[: arguments.scaled])
        for search in SEARCHES:
            costs[search] = patch_cost(paper, scan, some, search)
            progress(f"{search}, published network")
    result: dict[str, dict[str, Any]] = {}
    for count in (int(number) for number in arguments.structures.split(",")):
        chosen = templates.select(templates.structures[:count])
        if len(chosen.structures) < count:
            raise UsageError(f"the phantoms have {len(chosen.structures)} structures, {count} were asked for")
        rows = result[str(count)] = {}
        for search in SEARCHES:
            rows[search] = searched(localizer, scan, chosen, search, arguments.repeats).row()
        rows["random-start, cube by cube"] = cube_by_cube(localizer, scan, count, arguments.repeats).row()
        rows |= {f"{search}, published network": cost.times(count).row() for search, cost in costs.items()}
        progress(f"{count} structures, {localizer.name}")
    z, y, x = scan.array.shape
    title = f"{x} × {y} × {z} voxels of {arguments.spacing:g} mm, {torch.get_num_threads()} threads, {localizer.device}"
    document = {"localizer": localizer.signature, "scan": title, "seconds": result}
    answer(tables(result, title), document, arguments.json)


if __name__ == "__main__":
    command(main)
