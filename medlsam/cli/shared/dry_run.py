"""``--dry-run``: what a run would do, as a table and a few lines, or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from medlsam.batch.dry_run import DryRun
    from medlsam.batch.task import Command
    from medlsam.io.cases import Case
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.options import InferenceOptions
    from medlsam.pipeline.model import MedLSAM


def dry_run(
    model: MedLSAM,
    command: Command,
    support: Path,
    cases: Sequence[Case],
    output: Path,
    options: InferenceOptions,
    notes: Sequence[str],
    shard: str | None,
    more: dict[str, Any],
) -> tuple[DryRun, dict[str, Any]]:
    """Find out what a run would do.

    Args:
        model: the loaded localizer.
        command: ``segment`` or ``localize``.
        support: the templates.
        cases: the scans.
        output: the folder.
        options: of inference.
        notes: warnings about the scans.
        shard: see ``segment_folder``.
        more: further arguments of ``segment_folder`` or ``localize_folder``.

    Returns:
        What the run would do, and what is known of the templates.

    Raises:
        MedlsamError: the call is wrong; see ``segment_folder``.
    """
    from medlsam.batch.api import plan_folder

    templates, about = _templates(model, support, options.locate.organs, output)
    found = plan_folder(
        command, model, templates, cases, output, options=options, notes=notes, shard=shard,
        overwrite=more.get("overwrite", False), boxes=more.get("boxes"), layout=more.get("layout", "cases"),
    )  # fmt: skip
    return found, about


def _templates(
    model: MedLSAM, support: Path, organs: Iterable[str] | None, output: Path
) -> tuple[TemplateSet, dict[str, Any]]:
    """The templates, as far as they are needed.

    Those of a folder are made anew in every run, with a pass of the network for each. That is needed only where
    scans are done already: whether with the same templates, nothing else can tell.
    """
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.pipeline.templates import choose_templates

    about: dict[str, Any] = {"path": str(support), "scans": []}
    if support.is_dir():
        found, names = choose_templates(support)
        about["scans"] = [case.name for case in found]
        if not any(output.glob("*/.done.json")):
            values = {name: value for value, name in names.items()}
            stand_in = TemplateSet(values, dict.fromkeys(values, ()), model.localizer.signature)
            return (stand_in if organs is None else stand_in.select(organs)), about
    templates = model.templates(support, organs)
    about["scans"] = list(templates.template_names)
    return templates, about


def document(found: DryRun, templates: dict[str, Any]) -> dict[str, Any]:
    """The document of ``--json``."""
    return found.to_dict() | {"templates": templates}


def show(console: Console, found: DryRun, templates: dict[str, Any]) -> None:
    """Print what a run would do, for people."""
    count = {action: sum(scan.action == action for scan in found.scans) for action in ("do", "skip")}
    table = Table(title=f"dry run of medlsam {found.command}: nothing is written", title_justify="left")
    for head in ("scan", "path", "what", "why"):
        table.add_column(head, overflow="fold")
    for scan in found.scans:
        table.add_row(escape(scan.name), escape(scan.path), scan.action, escape(scan.why))
    console.print(table)
    scans = templates["scans"]
    lines = {
        "scans": f"{count['do']} to do, {count['skip']} to skip",
        "output": str(found.output),
        "templates": f"{templates['path']} ({len(scans)}: {_some(scans)})",
        "structures": ", ".join(found.structures),
        "device": found.device,
    }
    for kind, entry in found.weights.items():
        absent = "" if entry["present"] else ", to be downloaded"
        lines[kind] = f"{entry['name']} (sha256 {entry['sha256'][:12]}...{absent})"
    lines["options"] = (
        ", ".join(f"{name} {_word(value)}" for name, value in found.options.items()) or "the defaults"
    )
    lines["files"] = ", ".join(found.files)
    for name, words in lines.items():
        console.print(f"[bold]{name}:[/] {escape(words)}", soft_wrap=True)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
