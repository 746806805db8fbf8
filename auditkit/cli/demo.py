"""`auditkit demo`: the mislabel audit where the wrong labels are known."""

from __future__ import annotations

import click

from auditkit.cli.options import RunOptions, run_options, with_voice
from auditkit.cli.terminal import Terminal

AUDIT = "mislabel"


@click.pass_context
def _demo(ctx: click.Context, /, **values: object) -> int:
    from auditkit.cli.audits import conclude, run_audit  # noqa: PLC0415 - the group imports these
    from auditkit.cli.main import registry_of  # noqa: PLC0415 - as above
    from auditkit.demo import digits, verdict  # noqa: PLC0415 - brings torch

    terminal, registry = ctx.find_object(Terminal) or Terminal(), registry_of(ctx)
    options = RunOptions.of(values)
    audit = registry.audit(AUDIT)
    with terminal.progress() as progress:
        demo = digits(seed=options.seed, device=options.device, progress=progress)
    run = run_audit(audit, demo.subject, options, settings={}, registry=registry, terminal=terminal)
    code = conclude(run, options, terminal)
    terminal.answer(verdict(run.findings, demo.planted).sentence)
    return code


demo = with_voice(
    click.Command(
        "demo",
        callback=_demo,
        params=run_options("estimated share of wrong labels"),
        short_help="Try it on handwritten digits with wrong labels.",
        help=(
            "Try it on handwritten digits: 5 % of their labels are made wrong, a small network is "
            "trained on them, the mislabel audit looks for them, and what it found is compared "
            "with the truth."
        ),
    )
)
