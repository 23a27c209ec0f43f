"""Run over many scans: a failing one does not stop the others, and the next run goes on where this one ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from medlsam.batch.given_boxes import boxes_state, check_boxes
from medlsam.batch.one_scan import Item, Outcome, failed
from medlsam.batch.output import RESERVED, OutputFolder, digest, input_state
from medlsam.batch.plan import Plan
from medlsam.batch.summary import BatchResult, Progress, RunSummary, error_line
from medlsam.batch.task import Run
from medlsam.batch.worker import ScanJob
from medlsam.errors import UsageError, WorkerError
from medlsam.export.formats import check_outputs, reference_of
from medlsam.export.itksnap import write_itksnap_labels
from medlsam.io.cases import Case, find_cases, take_shard
from medlsam.option_fields import choice
from medlsam.parallel.attempts import TRIES
from medlsam.parallel.engine import check_processes, workers
from medlsam.runtime.atomic_files import write_json
from medlsam.runtime.log_notes import log_notes
from medlsam.runtime.run_lock import run_lock

#: How a run lays out what it writes: a folder for each scan, and beside them a dataset for nnU-Net.
LAYOUTS = ("cases", "nnunet")
#: run.json and statistics.csv are brought up to date after a case, but not more often than this.
SUMMARY_SECONDS = 5.0
_log = logging.getLogger(__name__)


def run_scans(
    run: Run,
    images: str | Path | Sequence[Case],
    output: str | Path,
    overwrite: bool,
    report: bool,
    on_progress: Callable[[Progress], None] | None,
    jobs: int,
    scheduler: str | None,
    notes: Sequence[str] = (),
    shard: str | None = None,
    layout: str = "cases",
) -> BatchResult:
    """Do a run; a wrong call is refused before anything is written.

    Args:
        run: what to do.
        images: the scans, or where they are.
        output: the folder to write to.
        overwrite: do everything again.
        report: write ``report.html``.
        on_progress: called before and after each scan.
        jobs: processes of this machine.
        scheduler: None; ``local``; or a Dask scheduler's address.
        notes: warnings about the scans that were found.
        shard: ``i/n``: only this part of the scans; other parts may be at work in the same folder.
        layout: ``cases``, or ``nnunet`` for a dataset of nnU-Net beside them.
    """
    choice("layout", layout, LAYOUTS)
    check_processes(jobs, scheduler)
    plan = _planned(run, images, output, overwrite, notes, shard)
    with run_lock(plan.folder.path, shard) as alone:
        if alone:
            plan.folder.clear_killed()
        # Only here: until now another run may have been at work.
        plan = _looked_up(plan, run, overwrite)
        return _run(run, plan, report, on_progress, jobs, scheduler, layout)


def plan_run(
    run: Run,
    images: str | Path | Sequence[Case],
    output: str | Path,
    overwrite: bool,
    notes: Sequence[str] = (),
    shard: str | None = None,
) -> Plan:
    """What a run would do; nothing is written. Arguments and errors are those of ``run_scans``."""
    return _looked_up(_planned(run, images, output, overwrite, notes, shard), run, overwrite)


def _planned(
    run: Run,
    images: str | Path | Sequence[Case],
    output: str | Path,
    overwrite: bool,
    notes: Sequence[str],
    shard: str | None,
) -> Plan:
    """The plan without what is done in the folder."""
    run.model.check(run.templates)
    wanted = run.options.locate.organs
    chosen = run.templates if wanted is None else run.templates.select(wanted)
    with log_notes(list(notes)) as warnings:
        cases = _cases(images, Path(output), shard)
    if run.command == "segment":
        check_outputs(run.options.output, [case.path for case in cases])
    if run.boxes is not None:
        check_boxes(run.boxes, [case.name for case in cases], Path(output))
    description = run.description()
    return Plan(
        folder=OutputFolder.open(output, run.command, overwrite),
        structures={structure: run.templates.values[structure] for structure in chosen.structures},
        description=description,
        shared=run.shared(description),
        cases=tuple(cases),
        warnings=tuple(warnings),
    )


def _looked_up(plan: Plan, run: Run, overwrite: bool) -> Plan:
    """The plan with what is done in the folder now."""
    known = plan.folder.all_done()
    fingerprints = {case.name: _fingerprint(plan.shared, case, run) for case in plan.cases}
    unchanged = {name for name, done in known.items() if done.fingerprint == fingerprints.get(name)}
    skipped = () if overwrite else tuple(case for case in plan.cases if case.name in unchanged)
    waiting = {
        case: fingerprints[case.name] for case in plan.cases if overwrite or case.name not in unchanged
    }
    return replace(plan, known=known, skipped=skipped, waiting=waiting)


def _run(
    run: Run,
    plan: Plan,
    report: bool,
    on_progress: Callable[[Progress], None] | None,
    jobs: int,
    scheduler: str | None,
    layout: str,
) -> BatchResult:
    folder, cases, skipped, waiting = plan.folder, plan.cases, plan.skipped, list(plan.waiting)
    items = {case.name: Item(_absolute(case), state, plan.shared) for case, state in plan.waiting.items()}
    # A scan that is not here either is its own failure.
    inputs = [case.inputs[0].absolute() for case in waiting if case.path.exists()][:1]
    inputs += [] if run.boxes is None else [run.boxes]
    clear = partial(folder.clear, list(items))
    with workers(ScanJob(run, folder), items, folder.path, jobs, scheduler, inputs, clear) as work:
        folder.prepare([case.name for case in cases])
        tell = on_progress or (lambda progress: None)
        summary = RunSummary(folder, plan.description, [case.name for case in cases], plan.known, plan.shared)
        summary.warnings += plan.warnings
        for case in skipped:
            summary.done[case.name] = plan.known[case.name]
            tell(summary.progress(case.name, "skipped"))
        _log.info("%s: %d scans, %d of them done before", folder.path, len(cases), len(skipped))
        # First of all: a folder with labels.json alone is taken for one of templates, and the next run is refused.
        summary.write()
        if run.command == "segment":
            names = {value: structure for structure, value in plan.structures.items()}
            write_json(
                folder.path / "labels.json", {str(value): name for value, name in sorted(names.items())}
            )
            write_itksnap_labels(names, folder.path / "labels.itksnap.txt")
        # Also after Ctrl-C: what is finished is on record, and the next run goes on from there.
        try:
            for name, result in work(lambda name: tell(summary.progress(name, "running"))):
                if not isinstance(result, Outcome):
                    result = failed(folder, items[name], result or _died(name))
                error = summary.add(result)
                tell(summary.progress(name, "failed" if error else "done", error))
                summary.write(at_most_every=SUMMARY_SECONDS)
        finally:
            summary.write()
    if layout == "nnunet":
        _dataset(summary)
    if report and (waiting or folder.outdated("report.html")):
        _report(summary)
    return BatchResult(
        output=folder.path,
        done=tuple(case.name for case in waiting if case.name in summary.done),
        skipped=tuple(case.name for case in skipped),
        failed={name: error_line(record) for name, record in summary.failed.items()},
        warnings=tuple(summary.warnings),
    )


def _died(name: str) -> WorkerError:
    return WorkerError(
        f"the process that worked on {name} died {TRIES} times; often the memory does not suffice: "
        "give fewer --jobs, or look whether the scan's file is damaged"
    )


def _cases(images: str | Path | Sequence[Case], output: Path, shard: str | None = None) -> list[Case]:
    """The scans to work on; none of those that lie in the output folder, which are results."""
    found = take_shard(find_cases(images) if isinstance(images, str | Path) else list(images), shard)
    # Not Path.resolve, which knows no answer for a link to itself.
    inside = os.path.realpath(output)
    cases = [case for case in found if not Path(os.path.realpath(case.path)).is_relative_to(inside)]
    if not cases:
        where = f"{images}: " if isinstance(images, str | Path) else ""
        raise UsageError(
            f"{where}no scans{f' outside of the output folder {output}' if found else ''}; "
            "give a scan or a folder of scans, and another folder for the output"
        )
    # A folder cannot have the name of a file that the run writes beside it.
    cases = [replace(c, name=f"{c.name}_scan") if c.name in RESERVED else c for c in cases]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"several scans are called {', '.join(twice)}; names must differ")
    return cases


def _absolute(case: Case) -> Case:
    """The same scan for processes that work in other folders."""
    return replace(case, path=case.path.absolute(), files=tuple(file.absolute() for file in case.files))


def _fingerprint(shared: str, case: Case, run: Run) -> str:
    reference = reference_of(run.options.output, case.name) if run.command == "segment" else None
    try:
        read = (*case.inputs, reference) if reference else case.inputs
        state = [entry for path in read for entry in input_state(path)]
    except OSError:  # told when it is read
        state = []
    given = [] if run.boxes is None else [boxes_state(run.boxes, case.name, run.templates.structures)]
    return digest([shared, state, *given])


def _dataset(summary: RunSummary) -> None:
    """Make nnU-Net's dataset; the results are there without it, so that it fails is a warning only."""
    from medlsam.export.nnunet import write_nnunet

    try:
        summary.warnings += write_nnunet(summary.folder.path)
    except Exception as error:
        _log.exception("the dataset for nnU-Net could not be written")
        summary.warnings.append(f"nnUNet_raw could not be written: {type(error).__name__}: {error}")
    summary.write()


def _report(summary: RunSummary) -> None:
    """Write the report; the results are there without it, so that it fails is a warning only."""
    try:
        from medlsam.export.report import write_report

        write_report(summary.folder.path)
    except OSError as error:
        summary.warnings.append(f"report.html could not be written ({error.strerror or error})")
        summary.write()
    except Exception as error:
        _log.exception("the report could not be written")
        summary.warnings.append(f"report.html could not be written: {type(error).__name__}: {error}")
        summary.write()
