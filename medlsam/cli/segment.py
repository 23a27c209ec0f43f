"""``medlsam segment``."""

from __future__ import annotations

from medlsam.cli import flags
from medlsam.cli.common import AsJson, over_scans, report_errors
from medlsam.cli.shared.loudness import talkative
from medlsam.options import InferenceOptions


@report_errors
@talkative
@flags.inference(until="write")
def segment(
    support: flags.Support,
    images: flags.Images,
    output: flags.Output,
    options: InferenceOptions,
    boxes: flags.Boxes = None,
    layout: flags.Layout = "cases",
    overwrite: flags.Overwrite = False,
    jobs: flags.Jobs = 1,
    scheduler: flags.Scheduler = None,
    shard: flags.Shard = None,
    dry_run: flags.DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find and segment the templates' structures in scans.

    Writes a label map and boxes for each scan, statistics.csv, report.html and run.json. A second run over
    the same folder goes on where the first one stopped.
    """
    from medlsam.batch import segment_folder

    over_scans(
        segment_folder,
        support,
        images,
        output,
        options,
        shard=shard,
        dry_run=dry_run,
        as_json=as_json,
        wrote=output / "report.html",
        overwrite=overwrite,
        jobs=jobs,
        scheduler=scheduler,
        report=shard is None,
        boxes=boxes,
        # Like the report, of all scans together.
        layout=layout if shard is None else "cases",
    )
