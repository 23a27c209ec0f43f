"""``medlsam segment``."""

from __future__ import annotations

import typer

from medlsam.cli import flags
from medlsam.cli.common import AsJson, load_model, messages, print_json, told, warn_of_misfits
from medlsam.cli.progress import case_bar, tell_result
from medlsam.options import read_options


@told
def segment(
    support: flags.Support,
    images: flags.Images,
    output: flags.Output,
    organs: flags.Organs = None,
    segmenter: flags.Segmenter = None,
    prompts: flags.Prompts = None,
    localizer: flags.Localizer = None,
    weights: flags.Weights = None,
    search: flags.Search = None,
    margin_mm: flags.MarginMm = None,
    threshold: flags.Threshold = None,
    shrink: flags.Shrink = None,
    center_point: flags.CenterPoint = None,
    shape_prompt: flags.ShapePrompt = None,
    zoom: flags.Zoom = None,
    axes: flags.Axes = None,
    propagate: flags.Propagate = None,
    components: flags.Components = None,
    overlaps: flags.Overlaps = None,
    cache: flags.Cache = None,
    cache_gb: flags.CacheGb = None,
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
    """Find and segment the templates' structures in scans.

    Writes a label map and boxes for each scan, statistics.csv, report.html and run.json. A second run over
    the same folder goes on where the first one stopped.
    """
    given = {
        "organs": organs,
        "segmenter": segmenter,
        "prompts": prompts,
        "localizer": localizer,
        "weights": weights,
        "search": search,
        "margin_mm": margin_mm,
        "threshold": threshold,
        "shrink": shrink,
        "center_point": center_point,
        "shape_prompt": shape_prompt,
        "zoom": zoom,
        "axes": axes,
        "propagate": propagate,
        "components": components,
        "overlaps": overlaps,
        "cache": cache,
        "cache_gb": cache_gb,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    options = read_options(config, given)
    from medlsam.batch import segment_folder
    from medlsam.io.cases import find_cases, take_shard

    cases = take_shard(find_cases(images), shard)
    console = messages()
    with case_bar(console) as bar:
        model = load_model(options)
        bar.say("templates")
        templates = model.templates(support, options.organs, on_progress=bar.say)
        warn_of_misfits(console, templates)
        result = segment_folder(
            model,
            templates,
            cases,
            output,
            options=options,
            overwrite=overwrite,
            report=shard is None,
            on_progress=bar.scan,
            jobs=jobs,
            scheduler=scheduler,
        )
    tell_result(console, result, output / "report.html")
    if as_json:
        print_json(result.to_dict())
    raise typer.Exit(result.exit_code)
