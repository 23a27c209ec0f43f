"""Localize and segment many scans: the two functions that people call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medlsam.batch.dry_run import DryRun, foresee
from medlsam.batch.given_boxes import read_given
from medlsam.batch.loop import plan_run, run_scans
from medlsam.batch.summary import BatchResult, Progress
from medlsam.batch.task import Command, Run, ScanResult
from medlsam.export.formats import open_series, write_outputs
from medlsam.export.slicer_markups import write_markups
from medlsam.export.thumbnails.file import try_thumbnails
from medlsam.io.cases import Case
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.statistics import structure_statistics
from medlsam.options import InferenceOptions
from medlsam.pipeline.given_boxes import given_localization
from medlsam.pipeline.model import MedLSAM
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import write_json
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image


def segment_folder(
    model: MedLSAM,
    templates: TemplateSet,
    images: str | Path | Sequence[Case],
    output: str | Path,
    *,
    options: InferenceOptions | None = None,
    overwrite: bool = False,
    report: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    boxes: str | Path | None = None,
    layout: str = "cases",
    notes: Sequence[str] = (),
    shard: str | None = None,
) -> BatchResult:
    """Segment many scans into a folder.

    Writes ``<case>/segmentation.nii.gz``, ``<case>/localization.json`` and ``<case>/thumbnails.json``, ``labels.json``,
    ``statistics.csv`` and ``.json``, ``run.json`` and ``report.html``, and for each scan what ``options.output`` asks
    for. A scan is skipped where it was done before and neither its files, the options, the templates, the weights nor
    the version have changed.

    Args:
        model: from ``load``.
        templates: from ``model.templates``.
        images: a scan, a folder of scans or series, or the cases themselves.
        output: the folder to write to.
        options: how; those of ``load`` where None. Which networks they name does not matter: the model's are used.
        overwrite: do everything again.
        report: write ``report.html``.
        on_progress: called before and after each scan.
        jobs: processes of this machine that work at the same time; each loads the networks. With more than one, or
            with ``scheduler="local"``, a script must start its work under ``if __name__ == "__main__":``.
        scheduler: ``local`` for a Dask cluster of ``jobs`` workers on this machine, or the address of a Dask
            scheduler (``tcp://host:8786``), whose workers see the same paths.
        boxes: segment in given boxes instead of locating: a folder with ``<case>/boxes.mrk.json``,
            ``<case>.mrk.json`` or ``<case>/localization.json`` for each scan, or one file for one scan. A scan
            without boxes fails; one whose boxes were changed is done again. See ``medlsam.batch.given_boxes``.
        layout: ``nnunet`` also makes a dataset for nnU-Net of all scans that are done; see ``medlsam.export.nnunet``.
        notes: warnings about the scans, where they were looked for before: they go on record.
        shard: ``i/n``: only every n-th scan from the i-th. Different shards of one split may be at work in the same
            folder at the same time; two other runs may not.

    Returns:
        What was done, skipped and failed. A scan that fails is not an exception here.

    Raises:
        UsageError: no scans, an output folder that cannot be used or in which another run is at work, or outputs that
            refer to a DICOM series where no scan has one.
        TemplateError: templates of another localizer, or an unknown structure.
        WeightsError: the segmenter cannot be loaded.
        WorkerError: a process cannot do this work: it dies, has other weights, or sees other paths.
    """
    given = None if boxes is None else Path(boxes).expanduser().absolute()
    run = Run("segment", model, templates, model.options_of(options), _segment, given)
    return run_scans(
        run, images, output, overwrite, report, on_progress, jobs, scheduler, notes, shard, layout
    )


def localize_folder(
    model: MedLSAM,
    templates: TemplateSet,
    images: str | Path | Sequence[Case],
    output: str | Path,
    *,
    options: InferenceOptions | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    notes: Sequence[str] = (),
    shard: str | None = None,
) -> BatchResult:
    """Locate the templates' structures in many scans.

    Writes ``<case>/localization.json``, the same for 3D Slicer as ``<case>/points.mrk.json`` and
    ``<case>/boxes.mrk.json`` (which ``segment_folder`` takes as ``boxes``), and ``run.json``.

    Arguments, answer and errors are those of ``segment_folder``; no segmenter is loaded.
    """
    run = Run("localize", model, templates, model.options_of(options), _localize)
    return run_scans(run, images, output, overwrite, False, on_progress, jobs, scheduler, notes, shard)


def plan_folder(
    command: Command,
    model: MedLSAM,
    templates: TemplateSet,
    images: str | Path | Sequence[Case],
    output: str | Path,
    *,
    options: InferenceOptions | None = None,
    overwrite: bool = False,
    boxes: str | Path | None = None,
    layout: str = "cases",
    notes: Sequence[str] = (),
    shard: str | None = None,
) -> DryRun:
    """What ``segment_folder`` or ``localize_folder`` would do with these arguments; nothing is written.

    Args:
        command: ``segment`` or ``localize``; the other arguments are those of its function.
        model: its segmenter is not loaded, and not downloaded.
        templates: as there.
        images: as there.
        output: as there.
        options: as there.
        overwrite: as there.
        boxes: as there.
        layout: as there.
        notes: as there.
        shard: as there.

    Raises:
        MedlsamError: as there, as far as that can be known before.
    """
    given = None if boxes is None else Path(boxes).expanduser().absolute()
    work = _segment if command == "segment" else _localize
    run = Run(command, model, templates, model.options_of(options), work, given)
    plan = plan_run(run, images, output, overwrite, notes, shard)
    return foresee(plan, run, whole=shard is None, layout=layout)


def _segment(run: Run, image: Image, case: str, folder: Path, stopwatch: Stopwatch) -> ScanResult:
    # Before the networks: a scan whose outputs cannot be written fails at once.
    series = open_series(image, run.options.output, case)
    found = _segmented(run, image, case, stopwatch)
    with stopwatch("statistics"):
        rows = structure_statistics(found, image)
    with stopwatch("write"):
        warnings = write_outputs(found, folder, run.options.output, series)
        write_json(folder / "localization.json", found.localization.to_dict())
        warnings += try_thumbnails(found, image, folder)
    return ScanResult((*found.warnings, *warnings), rows)


def _segmented(run: Run, image: Image, case: str, stopwatch: Stopwatch) -> Segmentation:
    if run.boxes is None:
        return run.model.segment(image, run.templates, run.options, case=case, stopwatch=stopwatch)
    given = read_given(run.boxes, case, run.templates.structures)
    places = given_localization(
        image, given.boxes, run.templates, case, run.options.locate.organs, given.out_of_view
    )
    values = {name: run.templates.values[name] for name in places.structures}
    return run.model.segment_located(
        image, places, values, run.options, templates=run.templates, stopwatch=stopwatch
    )


def _localize(run: Run, image: Image, case: str, folder: Path, stopwatch: Stopwatch) -> ScanResult:
    found = run.model.localize(image, run.templates, run.options, case=case, stopwatch=stopwatch)
    with stopwatch("write"):
        write_json(folder / "localization.json", found.to_dict())
        write_markups(found, folder)
    return ScanResult()
