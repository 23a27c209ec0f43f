"""An example or two of every command, shown under its help. A test feeds each to the parser."""

from __future__ import annotations

import typer

#: Command, as it is called, to its examples. Brackets would be taken for markup.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "segment": (
        "medlsam segment --support organs.medlsam --images scans --output out",
        "medlsam segment --support templates --images scan.nii.gz --output out --organs liver,spleen --dry-run",
    ),
    "localize": ("medlsam localize --support organs.medlsam --images scans --output boxes --jobs 2",),
    "evaluate": ("medlsam evaluate --support organs.medlsam --images scans --labels labels --output scores",),
    "view": (
        "medlsam view out",
        "medlsam view out --case patient_7",
        "medlsam view out --port 8765 --no-browser",
    ),
    "annotate": (
        "medlsam annotate scans --output templates",
        "medlsam annotate scans --output templates --support organs.medlsam",
    ),
    "template build": ("medlsam template build templates --output organs.medlsam",),
    "template show": ("medlsam template show organs.medlsam",),
    "pretrain": (
        "medlsam pretrain fit --config configs/pretrain_tiny.yaml",
        "medlsam pretrain fit --config configs/pretrain_tiny.yaml --print_config",
    ),
    "pool build": ("medlsam pool build /archive/chest /archive/abdomen --output pool --jobs 4",),
    "pool show": ("medlsam pool show pool",),
    "pool verify": ("medlsam pool verify pool",),
    "finetune": (
        "medlsam finetune labelled --output own.safetensors --held-out judge.json",
        "medlsam finetune scans --teacher sam_vit_b --teacher-weights sam_vit_b.pth --output own.safetensors",
    ),
    "weights list": ("medlsam weights list",),
    "weights download": ("medlsam weights download medsam_vit_b",),
    "weights verify": ("medlsam weights verify", "medlsam weights verify own.safetensors"),
    "lesion propagate": (
        "medlsam lesion propagate scan.nii.gz --prompts marks.mrk.json --output lesions",
        "medlsam lesion propagate scan.nii.gz --prompts marks.json --organs organs.nii.gz --output lesions",
    ),
    "lesion segment": (
        "medlsam lesion segment scans --weights lesions.safetensors --output found",
        "medlsam lesion segment scan.nii.gz --weights fold0.safetensors --weights fold1.safetensors --output found",
    ),
    "lesion evaluate": (
        "medlsam lesion evaluate --predictions predictions --labels labels",
        "medlsam lesion evaluate --predictions predictions --labels labels --threshold 0.1 --smallest 50 --json",
    ),
    "data": ("medlsam data --list", "medlsam data totalsegmentator --output datasets"),
    "lesion measure": (
        "medlsam lesion measure lesions.nii.gz",
        "medlsam lesion measure lesions.nii.gz --scan scan.nii.gz --output measured",
    ),
    "lesion follow-up": ("medlsam lesion follow-up baseline month-3 month-6 --output follow-up",),
    "info": ("medlsam info", "medlsam info --json"),
    "demo": ("medlsam demo --output medlsam-demo", "medlsam demo --lesions"),
    # Groups, and all.
    "template": ("medlsam template build templates --output organs.medlsam",),
    "pool": ("medlsam pool build /archive/chest --output pool",),
    "weights": ("medlsam weights list",),
    "lesion": ("medlsam lesion measure lesions.nii.gz",),
    "": ("medlsam demo", "medlsam segment --support organs.medlsam --images scans --output out"),
}


def show_examples(app: typer.Typer, group: str = "") -> None:
    """Put the examples under the help of every command of an app, and of those of its groups."""
    app.info.epilog = _epilog(group, str(app.info.epilog or "") if not group else "")
    for command in app.registered_commands:
        name = command.name or str(getattr(command.callback, "__name__", "")).replace("_", "-")
        command.epilog = _epilog(f"{group} {name}".strip())
    for inner in app.registered_groups:
        if inner.typer_instance is not None and inner.name:
            show_examples(inner.typer_instance, f"{group} {inner.name}".strip())


def _epilog(name: str, more: str = "") -> str | None:
    examples = EXAMPLES.get(name, ())
    # An empty line between two lines, or typer makes one of them.
    lines = [f"Example{'s' if len(examples) > 1 else ''}:", *examples] if examples else []
    return "\n\n".join([*lines, *([more] if more else [])]) or None
