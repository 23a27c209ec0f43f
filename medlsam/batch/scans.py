"""The run over many scans: a failing one does not stop the others, the next run goes on where this ended."""

from __future__ import annotations

import logging
import tempfile
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from medlsam import __version__
from medlsam.batch.output import CaseRecord, DoneCase, OutputFolder, digest, input_state
from medlsam.batch.read_ahead import Scan, noted, read_ahead
from medlsam.batch.summary import BatchResult, Progress, RunSummary
from medlsam.errors import MedlsamError, UsageError
from medlsam.files import write_json
from medlsam.inputs import Case, find_cases
from medlsam.localize.templates import TemplateSet
from medlsam.options import InferenceOptions, Policy
from medlsam.pipeline import MedLSAM
from medlsam.stopwatch import Stopwatch
from medlsam.volume import Volume
from medlsam.weights import sha256_of

#: run.json and statistics.csv are brought up to date after a case, but not more often than this.
SUMMARY_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the work on one scan gives besides its files."""

    warnings: tuple[str, ...] = ()
    statistics: Sequence[dict[str, Any]] = ()


Work = Callable[[Volume, str, Path, Stopwatch], Answer]


@dataclass(frozen=True)
class Run:
    """What a run is to do, whatever the scans are."""

    command: Literal["segment", "localize"]
    model: MedLSAM
    templates: TemplateSet
    options: InferenceOptions
    work: Work

    def description(self) -> dict[str, Any]:
        """The head of ``run.json``."""
        weights = {"localizer": self.model.localizer_weights}
        if self.command == "segment":
            weights["segmenter"] = self.model.segmenter_weights
        return {
            "version": __version__,
            "command": self.command,
            "options": asdict(self.options),
            "weights": weights,
            "templates": {
                "source": self.templates.source,
                "sha256": _templates_digest(self.templates),
                "organs": list(self.templates.organs),
            },
            "device": str(self.model.device),
        }

    def shared(self, description: dict[str, Any]) -> str:
        """Fingerprint of all that every scan's result depends on."""
        matters = ["organs", "search", "seed"]
        if self.command == "segment":
            matters += ["prompts", "margin_mm", "threshold", *(f.name for f in fields(Policy))]
        options = {name: description["options"][name] for name in matters}
        hashes = {kind: entry["sha256"] for kind, entry in description["weights"].items()}
        templates = description["templates"]["sha256"]
        return digest([__version__, self.command, options, hashes, templates])


def run_scans(
    run: Run,
    images: str | Path | Sequence[Case],
    output: str | Path,
    overwrite: bool,
    report: bool,
    on_progress: Callable[[Progress], None] | None,
) -> BatchResult:
    """Do a run; all that makes the call itself wrong is found before anything is written.

    Args:
        run: what to do.
        images: the scans, or where they are.
        output: the folder to write to.
        overwrite: do everything again.
        report: write ``report.html``.
        on_progress: called before and after each scan.
    """
    run.model.check(run.templates)
    chosen = run.templates if run.options.organs is None else run.templates.select(run.options.organs)
    cases = _cases(images, Path(output))
    description = run.description()
    shared = run.shared(description)
    folder = OutputFolder.open(output, run.command, overwrite)
    known = folder.all_done()
    fingerprints = {case.name: _fingerprint(shared, case) for case in cases}
    unchanged = {name for name, done in known.items() if done.fingerprint == fingerprints.get(name)}
    skipped = [] if overwrite else [case for case in cases if case.name in unchanged]
    waiting = [case for case in cases if overwrite or case.name not in unchanged]
    if waiting and run.command == "segment":
        _ = run.model.segmenter  # loaded now: weights that do not load are no fault of a scan
    folder.prepare()
    if run.command == "segment":
        names = {run.templates.values[organ]: organ for organ in chosen.organs}
        write_json(folder.path / "labels.json", {str(value): name for value, name in sorted(names.items())})
    tell = on_progress or (lambda progress: None)
    summary = RunSummary(folder, description, [case.name for case in cases], known, shared)
    for number, case in enumerate(skipped, start=1):
        summary.done[case.name] = known[case.name]
        tell(Progress(case.name, "skipped", number, len(cases)))
    _log.info("%s: %d scans, %d of them done before", folder.path, len(cases), len(skipped))
    finished = len(skipped)
    summary.write()
    # Also after Ctrl-C: what is finished is on record, and the next run goes on from there.
    try:
        for case, reading in read_ahead(waiting):
            tell(Progress(case.name, "running", finished, len(cases)))
            error = _one_scan(run, folder, case, reading, fingerprints[case.name], shared, summary)
            finished += 1
            tell(Progress(case.name, "failed" if error else "done", finished, len(cases), error))
            summary.write(at_most_every=SUMMARY_SECONDS)
    finally:
        summary.write()
    if report and (waiting or not (folder.path / "report.html").is_file()):
        _report(summary)
    return BatchResult(
        output=folder.path,
        done=tuple(case.name for case in waiting if case.name in summary.done),
        skipped=tuple(case.name for case in skipped),
        failed={name: _told(record) for name, record in summary.failed.items()},
        warnings=tuple(summary.warnings),
    )


def _one_scan(
    run: Run,
    folder: OutputFolder,
    case: Case,
    reading: Future[Scan],
    fingerprint: str,
    shared: str,
    summary: RunSummary,
) -> str | None:
    """Work on one scan; what goes wrong with it is recorded and returned, not raised."""
    watch = Stopwatch()
    with noted() as notes:
        try:
            scan = reading.result()
            watch.seconds["read"] = scan.seconds
            notes += scan.notes
            with folder.writing(case.name) as partial:
                answer = run.work(scan.volume, case.name, partial, watch)
                warnings = (*notes, *answer.warnings)
                record = CaseRecord(str(case.path.absolute()), "done", watch.seconds, warnings)
                done = DoneCase(fingerprint, shared, record, list(answer.statistics))
                folder.finish(case.name, done)
        except Exception as error:
            text = " ".join(str(error).split()) or repr(error)
            details = {"type": type(error).__name__, "text": text}
            if not isinstance(error, MedlsamError):
                # Nobody foresaw it, so somebody will want to know where it was.
                details["traceback"] = "".join(traceback.format_exception(error))
            # An older result would pass for this run's.
            folder.discard(case.name)
            record = CaseRecord(str(case.path.absolute()), "failed", watch.seconds, tuple(notes), details)
            summary.failed[case.name] = record
            _log.info("%s failed: %s", case.name, text)
            return _told(record)
    summary.done[case.name] = done
    return None


def _told(record: CaseRecord) -> str:
    return f"{record.error['type']}: {record.error['text']}" if record.error else ""


def _cases(images: str | Path | Sequence[Case], output: Path) -> list[Case]:
    """The scans to work on; none of those that lie in the output folder, which are results."""
    found = find_cases(images) if isinstance(images, str | Path) else list(images)
    inside = output.resolve()
    cases = [case for case in found if not case.path.resolve().is_relative_to(inside)]
    if not cases:
        where = f"{images}: " if isinstance(images, str | Path) else ""
        raise UsageError(
            f"{where}no scans{f' outside of the output folder {output}' if found else ''}; "
            "give a scan or a folder of scans, and another folder for the output"
        )
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"several scans are called {', '.join(twice)}; names must differ")
    return cases


def _fingerprint(shared: str, case: Case) -> str:
    try:
        state = input_state(case.path)
    except OSError:  # told when it is read
        state = []
    return digest([shared, state])


def _templates_digest(templates: TemplateSet) -> str:
    """sha256 of the templates' file, whether or not they were read from one."""
    with tempfile.TemporaryDirectory(prefix="medlsam-") as folder:
        templates.save(Path(folder) / "templates.medlsam")
        return sha256_of(Path(folder) / "templates.medlsam")


def _report(summary: RunSummary) -> None:
    """Write the report; the results are there without it, so that it fails is a warning only."""
    try:
        from medlsam.report import write_report

        write_report(summary.folder.path)
    except Exception as error:
        _log.exception("the report could not be written")
        summary.warnings.append(f"report.html could not be written: {type(error).__name__}: {error}")
        summary.write()
