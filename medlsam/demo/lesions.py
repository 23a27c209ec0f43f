"""A made-up patient at two visits: every lesion from one box to a mask, measured, followed, beside the known truth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medlsam.demo.folder import claim
from medlsam.demo.lesion_report import write_lesion_report
from medlsam.demo.lesion_result import DemoVisit, LesionDemoResult
from medlsam.export.figures import Picture, png
from medlsam.export.lesions.diameters import LesionScene, draw_diameters, draw_follow_up
from medlsam.export.lesions.masks import draw_lesions
from medlsam.geometry import Box
from medlsam.io.write import write_volume
from medlsam.lesion.propagate.organ import Organs
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import MemoryPropagator, propagate_lesions
from medlsam.lesion.recist.files import with_kinds
from medlsam.lesion.recist.follow_up import Visit, follow_up
from medlsam.lesion.recist.lesion import Kind
from medlsam.lesion.recist.measurable import NORMAL_NODE_MM
from medlsam.lesion.recist.response import Assessment, Findings, NonTarget, assess
from medlsam.lesion.recist.tables import FOLLOW_UP_COLUMNS, follow_up_document, follow_up_rows, write_rows
from medlsam.lesion.recist.track import FollowUp
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.measure.lesions import measure_lesions
from medlsam.measure.metrics import dice
from medlsam.phantoms.lesions import LesionPhantom, PhantomLesion, lesion_visits
from medlsam.runtime.atomic_files import atomic_path, write_json
from medlsam.segment.load import load_segmenter

#: The patient: has lesions of several kinds, some of which grow, shrink, vanish or are new.
SEED, LESIONS = 1, 7
#: Tumours and nodes: RECIST leaves out cysts and stones.
KINDS = ("liver_tumor", "kidney_tumor", "pancreatic_cancer", "lung_tumor", "lymph_node")
SPACING_XYZ = (2.0, 2.0, 3.0)
VISITS = ("baseline", "follow-up")
_README = """Made by `medlsam demo --lesions`. Nobody here is a patient: the scans are drawn by medlsam.phantoms.lesions.

report.html       open this: tables and pictures
baseline/         the first visit
  image.nii.gz    the scan
  prompts.json    what a reader would draw: one box on one slice of each lesion
  organs.nii.gz   organ masks, which say what organ a lesion is of
  lesions.nii.gz  the lesions' masks, segmented from those boxes
  kinds.json      what kind of lesion each value is, and where
  truth.nii.gz    the lesions as they were drawn, for the score
follow-up/        the second visit, likewise
followed/         the lesions matched, the sum of diameters and the response
pictures/         the masks in three planes, the diameters, both visits side by side
truth.json        the true diameters, volumes and places

The same by hand:
  medlsam lesion propagate baseline/image.nii.gz --prompts baseline/prompts.json --organs baseline/organs.nii.gz --output by-hand
  medlsam lesion measure baseline/lesions.nii.gz --scan baseline/image.nii.gz --kinds baseline/kinds.json
  medlsam lesion follow-up baseline follow-up --output followed-by-hand
"""  # noqa: E501


def run_lesion_demo(
    output: str | Path,
    *,
    device: str = "auto",
    seed: int = SEED,
    lesions: int = LESIONS,
    spacing_xyz: tuple[float, float, float] = SPACING_XYZ,
    localizer: Localizer | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> LesionDemoResult:
    """Draw a patient at two visits, segment every lesion from one box, measure and follow them, write a report.

    Args:
        output: the folder; made where it does not exist. Files of an earlier demo are replaced.
        device: where the networks run.
        seed: the patient.
        lesions: how many there are at both visits together.
        spacing_xyz: voxel size at the first visit, mm.
        localizer: by whose embeddings lesions are found again; the one that ships by default.
        on_progress: called with a short text before each part.

    Raises:
        UsageError: the folder cannot be used, or holds something else.
        WeightsError: the weights that ship are not there.
    """
    output, tell = Path(output), on_progress or (lambda text: None)
    claim(output, _README)
    for name in (*VISITS, "followed", "pictures"):
        shutil.rmtree(output / name, ignore_errors=True)
    network = localizer or load_localizer(device=device)
    propagator = MemoryPropagator(load_segmenter("sam-tiny", device))
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def part(name: str) -> None:
        nonlocal clock
        seconds[name] = time.perf_counter() - clock
        clock = time.perf_counter()

    tell("making the patient")
    drawn = lesion_visits(seed, len(VISITS), lesions, kinds=KINDS, spacing_xyz=spacing_xyz)
    part("phantoms")
    tell("segmenting lesions from a box each")
    visits = tuple(_visit(name, made, propagator) for name, made in zip(VISITS, drawn, strict=True))
    part("segmentation")
    tell("following lesions")
    followed = follow_up(
        [Visit(visit.name, visit.lesions, network.embed(visit.phantom.image)) for visit in visits]
    )
    failed = {f"{v.name}: {name}": text for v in visits for name, text in v.found.failed.items()}
    part("follow-up")
    tell("writing and drawing")
    for visit in visits:
        _write_visit(output / visit.name, visit)
    write_json(output / "truth.json", {v.name: [own.to_dict() for own in v.phantom.lesions] for v in visits})
    write_json(output / "followed" / "follow_up.json", follow_up_document(followed))
    write_rows(follow_up_rows(followed), output / "followed" / "follow_up.csv", FOLLOW_UP_COLUMNS)
    pictures = _draw(output / "pictures", visits, followed)
    part("files and pictures")
    done = LesionDemoResult(output, visits, followed, _true_response(visits, followed), failed, seconds)
    write_lesion_report(done, pictures)
    return done


def _visit(name: str, made: LesionPhantom, propagator: MemoryPropagator) -> DemoVisit:
    """Segment each lesion from its box, and measure the masks."""
    # From the head down: so a lesion has another number at each visit, and the follow-up has to find it.
    order = sorted(made.lesions, key=lambda lesion: -lesion.center[2])
    organs = Organs.of(made.labels, made.names, made.image.grid)
    found = propagate_lesions(made.image, [_prompt(made, own) for own in order], propagator, organs)
    truth = {mask.value: order[mask.value - 1] for mask in found.lesions}
    kinds = {
        mask.value: Kind(
            "n" if truth[mask.value].kind == "lymph_node" else "m",
            (mask.organ.organ if mask.organ else None) or "",
        )
        for mask in found.lesions
    }
    measured = measure_lesions(found.labels, made.image, least_voxels=1, instances="given")
    scores = {
        value: dice(found.labels.array == value, made.lesion_labels.array == lesion.id)
        for value, lesion in truth.items()
    }
    return DemoVisit(name, made, found, truth, tuple(with_kinds(measured, kinds)), scores)


def _prompt(made: LesionPhantom, lesion: PhantomLesion) -> LesionPrompt:
    """The box of a lesion on the slice where most of it is seen, as a reader would draw it."""
    mask, grid = made.lesion_labels.array == lesion.id, made.image.grid
    k = int(np.argmax(mask.sum(axis=(1, 2))))
    rows, columns = np.nonzero(mask[k])
    low = grid.ijk_to_lps((columns.min() - 0.5, rows.min() - 0.5, k)).tolist()
    high = grid.ijk_to_lps((columns.max() + 0.5, rows.max() + 0.5, k)).tolist()
    return LesionPrompt(f"lesion {lesion.id}", lesion.kind, Box(tuple(low), tuple(high)))


def _true_response(visits: Sequence[DemoVisit], followed: FollowUp) -> Assessment:
    """The response with the true diameters of the same targets, and with true matches."""
    first, second = ({own.id: own for own in visit.phantom.lesions} for visit in visits)
    tracks = [
        (track.target, visits[0].truth[track.sightings[0].lesions[0].id])
        for track in followed.tracks
        if track.sightings[0].lesions
    ]
    targets = [own for target, own in tracks if target]
    # A node below 10 mm is no lesion, here as in the follow-up.
    others = [own for target, own in tracks if not target and not _normal(own)]
    new = sum(not _normal(second[key]) for key in second.keys() - first)
    return assess(
        [own.kind == "lymph_node" for own in targets],
        [
            Findings(tuple(_diameter(own) for own in targets), tuple(_state(own) for own in others)),
            Findings(
                tuple(_diameter(second.get(own.id)) for own in targets),
                tuple(_state(second.get(own.id)) for own in others),
                new,
            ),
        ],
    )[0]


def _diameter(lesion: PhantomLesion | None) -> float:
    if lesion is None:
        return 0.0
    return lesion.perpendicular_mm if lesion.kind == "lymph_node" else lesion.longest_mm


def _normal(lesion: PhantomLesion) -> bool:
    return lesion.kind == "lymph_node" and lesion.perpendicular_mm < NORMAL_NODE_MM


def _state(lesion: PhantomLesion | None) -> NonTarget:
    return "gone" if lesion is None or _normal(lesion) else "present"


def _write_visit(folder: Path, visit: DemoVisit) -> None:
    made = visit.phantom
    write_volume(made.image, folder / "image.nii.gz")
    write_volume(made.labels, folder / "organs.nii.gz", names=made.names)
    write_volume(made.lesion_labels, folder / "truth.nii.gz")
    write_volume(visit.found.labels, folder / "lesions.nii.gz", names=visit.found.names)
    write_json(folder / "prompts.json", {
        "coordinate_system": "LPS", "units": "mm",
        "lesions": [mask.prompt.to_dict() for mask in visit.found.lesions],
    })  # fmt: skip
    write_json(folder / "kinds.json", {str(own.id): str(own.kind) for own in visit.lesions})


def _draw(folder: Path, visits: Sequence[DemoVisit], followed: FollowUp) -> dict[str, Path]:
    """Draw both visits; what each picture shows, and its file."""
    made: dict[str, tuple[str, Picture]] = {}
    for visit in visits:
        if not visit.found.lesions:
            continue
        image, labels = visit.phantom.image, visit.found.labels
        made[f"{visit.name}: masks from one box each"] = (
            f"{visit.name}-masks.png", draw_lesions(image, visit.found.lesions),
        )  # fmt: skip
        made[f"{visit.name}: diameters"] = (
            f"{visit.name}-diameters.png", draw_diameters(image, labels, visit.lesions, visit.name),
        )  # fmt: skip
    if followed.tracks:
        scenes = [LesionScene(visit.phantom.image, visit.found.labels) for visit in visits]
        made["Targets at both visits"] = ("follow-up.png", draw_follow_up(followed, scenes))
    files = {}
    for title, (name, picture) in made.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(png(picture))
        files[title] = folder / name
    return files
