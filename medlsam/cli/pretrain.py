"""``medlsam pretrain``."""

from __future__ import annotations

import typer

from medlsam.cli.common import WRONG_CALL, messages, report_errors


@report_errors
def pretrain(context: typer.Context) -> None:
    """Train a localizer without labels: fit, validate, --print_config.

    All that follows goes to LightningCLI, such as
    `medlsam pretrain fit --config configs/pretrain_tiny.yaml --trainer.max_steps 100`;
    `medlsam pretrain fit --help` lists what there is.
    """
    if not context.args:
        messages().print("error: say what to do: medlsam pretrain fit --config configs/pretrain_tiny.yaml")
        raise typer.Exit(WRONG_CALL)
    from medlsam.localize.pretrain.module import cli

    cli(list(context.args))
