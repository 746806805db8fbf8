"""The command of an audit, made of what its class declares."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditkit.audit import AuditClass
from auditkit.cli.options import (
    FILE,
    RunOptions,
    checkpoint_option,
    diffusion_options,
    given_settings,
    language_options,
    run_options,
    setting_options,
    subject_options,
    voice_parameters,
)
from auditkit.cli.terminal import Terminal
from auditkit.context import Settings
from auditkit.hookspecs import SourceOptions
from auditkit.progress import Progress
from auditkit.registry import Registry
from auditkit.results import Given

if TYPE_CHECKING:
    from auditkit.store import Run
    from auditkit.subject import Subject

FIRST = 10
"""How many findings the terminal shows; the report shows `--top`."""


def audit_command(audit: AuditClass) -> click.Command:
    """`auditkit NAME SUBJECT`, with an option for each setting of the audit."""
    parameters: list[click.Parameter] = [click.Argument(["subject"])]
    needs = audit.requirements
    by_path = needs.second == "evaluation"
    if needs.queries != "unused" and by_path and not needs.diffusion:
        parameters.append(click.Argument(["evaluation"], type=FILE, required=False))
    parameters += setting_options(audit)
    if needs.queries != "unused" and not by_path:
        parameters.append(
            click.Option(
                ["--trusted"],
                type=FILE,
                metavar="PATH",
                help="Data of the same kind as SUBJECT, with labels known to be right.",
            )
        )
    if needs.model == "optional":
        parameters.append(
            click.Option(
                ["--no-model", "no_model"],
                is_flag=True,
                help="Look at the data alone; nothing is trained and no model asked.",
            )
        )
    if needs.language:
        parameters += language_options()
    if needs.diffusion:
        parameters += diffusion_options()
    if needs.language or needs.diffusion:
        parameters.append(checkpoint_option())
    parameters += [*subject_options(), *run_options(audit.fail_on), *voice_parameters()]

    @click.pass_context
    def callback(ctx: click.Context, /, **values: object) -> int:
        return _run(ctx, audit, values)

    return click.Command(
        audit.name,
        callback=callback,
        params=parameters,
        help=audit.question,
        epilog="Exit codes: 0 done, 1 --fail-on reached, 2 wrong use, 3 could not be done.",
    )


def _run(ctx: click.Context, audit: AuditClass, values: Mapping[str, object]) -> int:
    from auditkit.cli.main import registry_of  # noqa: PLC0415 - the group imports this module
    from auditkit.devices import check_device  # noqa: PLC0415 - brings torch
    from auditkit.pipeline import check_settings  # noqa: PLC0415 - as above

    terminal, registry = ctx.find_object(Terminal) or Terminal(), registry_of(ctx)
    options = RunOptions.of(values)
    check_device(options.device)
    settings = check_settings(audit, given_settings(audit, values))  # before a model is trained
    with terminal.progress() as progress:
        source = replace(
            _source_options(values, options, progress),
            unlabelled=audit.requirements.labels == "optional",
            diffusion=audit.requirements.diffusion,
            language=audit.requirements.language,
        )
        subject = registry.load_subject(str(values["subject"]), source)
    run = run_audit(
        audit, subject, options, settings=settings, registry=registry, terminal=terminal
    )
    return conclude(run, options, terminal)


def run_audit(
    audit: AuditClass,
    subject: Subject,
    options: RunOptions,
    *,
    settings: Mapping[str, Given] | Settings,
    registry: Registry,
    terminal: Terminal,
) -> Run:
    """Run an audit with bars, after saying what of the subject is used."""
    from auditkit.pipeline import run  # noqa: PLC0415 - brings torch

    for sentence in subject.description:
        terminal.say(sentence)
    with terminal.progress() as progress:
        return run(
            audit,
            subject,
            out=options.out,
            settings=settings,
            seed=options.seed,
            device=options.device,
            batch_size=options.batch_size,
            top=options.top,
            progress=progress,
            command=shlex.join(["auditkit", *sys.argv[1:]]),
            registry=registry,
            listener=terminal.say,
        )


def conclude(run: Run, options: RunOptions, terminal: Terminal) -> int:
    """Say what a run found and where its report is; give the exit code."""
    terminal.answer(run.record.answer)
    for note in run.record.notes:
        if note.level == "warning":
            terminal.warn([note.text])
        else:
            terminal.say(note.text)
    terminal.warn(run.warnings)
    show_findings(run, terminal)
    terminal.detail(
        "Seconds: " + ", ".join(f"{stage} {took:.1f}" for stage, took in run.record.seconds.items())
    )
    terminal.answer(f"Report: {run.report}")
    reached = options.fail_on is not None and run.record.rate >= options.fail_on
    if reached:
        terminal.say(
            f"The rate, {run.record.rate:.4g}, is at least {options.fail_on:g} (--fail-on)."
        )
    return int(reached)


def show_findings(run: Run, terminal: Terminal) -> None:
    """The first findings as a small table; not under `-q`."""
    if terminal.quiet or not len(run.findings):
        return
    frame = run.findings.frame.head(FIRST)
    shown = [
        name
        for name in frame.columns
        if name != "flagged" and frame[name].null_count() < frame.height
    ][:7]
    terminal.table(shown, frame.select(shown).rows())


def _source_options(
    values: Mapping[str, object], options: RunOptions, progress: Progress
) -> SourceOptions:
    def text(name: str) -> str | None:
        value = values.get(name)
        return None if value is None else str(value)

    def path(name: str) -> Path | None:
        value = values.get(name)
        return value if isinstance(value, Path) else None

    drop, generated, kept = values["drop"], values.get("generated"), values.get("checkpoint")
    return SourceOptions(
        evaluation=path("evaluation"),
        label=text("label"),
        id=text("id"),
        text=text("text"),
        drop=tuple(map(str, drop)) if isinstance(drop, tuple) else (),
        embeddings=bool(values["embeddings"]),
        trusted=path("trusted"),
        model=not values.get("no_model", False),
        model_folder=path("model"),
        base=path("base"),
        checkpoints=kept if isinstance(kept, tuple) else (),
        generated=generated if isinstance(generated, tuple) else (),
        condition=text("condition"),
        prompt=text("generated_prompt"),
        seed=options.seed,
        device=options.device,
        batch_size=options.batch_size,
        progress=progress,
    )
