"""``medlsam localize``."""

from __future__ import annotations

import typer

from medlsam.cli import flags
from medlsam.cli.common import AsJson, load_model, messages, print_json, told, warn_of_misfits
from medlsam.cli.progress import case_bar, tell_result
from medlsam.options import read_options


@told
def localize(
    support: flags.Support,
    images: flags.Images,
    output: flags.Output,
    organs: flags.Organs = None,
    localizer: flags.Localizer = None,
    weights: flags.Weights = None,
    search: flags.Search = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    config: flags.Config = None,
    overwrite: flags.Overwrite = False,
    jobs: flags.Jobs = 1,
    scheduler: flags.Scheduler = None,
    shard: flags.Shard = None,
    as_json: AsJson = False,
) -> None:
    """Find the templates' structures in scans: boxes and extreme points only.

    Writes localization.json for each scan, and run.json.
    """
    given = {
        "organs": organs,
        "localizer": localizer,
        "weights": weights,
        "search": search,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    options = read_options(config, given)
    from medlsam.batch import localize_folder
    from medlsam.io.cases import find_cases, take_shard

    cases = take_shard(find_cases(images), shard)
    console = messages()
    with case_bar(console) as bar:
        model = load_model(options)
        bar.say("templates")
        templates = model.templates(support, options.organs, on_progress=bar.say)
        warn_of_misfits(console, templates)
        result = localize_folder(
            model,
            templates,
            cases,
            output,
            options=options,
            overwrite=overwrite,
            on_progress=bar.scan,
            jobs=jobs,
            scheduler=scheduler,
        )
    tell_result(console, result, output)
    if as_json:
        print_json(result.to_dict())
    raise typer.Exit(result.exit_code)
