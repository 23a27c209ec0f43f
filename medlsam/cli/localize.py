"""``medlsam localize``."""

from __future__ import annotations

from medlsam.cli import flags
from medlsam.cli.common import AsJson, over_scans, report_errors
from medlsam.cli.shared.loudness import talkative
from medlsam.options import InferenceOptions


@report_errors
@talkative
@flags.inference(until="locate")
def localize(
    support: flags.Support,
    images: flags.Images,
    output: flags.Output,
    options: InferenceOptions,
    overwrite: flags.Overwrite = False,
    jobs: flags.Jobs = 1,
    scheduler: flags.Scheduler = None,
    shard: flags.Shard = None,
    dry_run: flags.DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the templates' structures in scans: boxes and extreme points only.

    Writes localization.json for each scan, the same for 3D Slicer as points.mrk.json and boxes.mrk.json, and
    run.json. Boxes that were moved in Slicer come back with segment --boxes.
    """
    from medlsam.batch import localize_folder

    over_scans(
        localize_folder,
        support,
        images,
        output,
        options,
        shard=shard,
        dry_run=dry_run,
        as_json=as_json,
        wrote=output,
        overwrite=overwrite,
        jobs=jobs,
        scheduler=scheduler,
    )
