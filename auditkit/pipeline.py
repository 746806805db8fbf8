"""One audit, from a subject to a stored run with its report.

`run` is the whole of it. What it calls, in that order: the audit's own requirements, the sums that
say what was audited, the audit on the engine, the store and the report; plugins are told at last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from auditkit import fingerprint, store
from auditkit.audit import AuditClass
from auditkit.calibrating import calibrated
from auditkit.calibrating import section as calibration_section
from auditkit.context import AuditContext, InfluenceSettings, Settings
from auditkit.devices import check_device
from auditkit.engine import ForwardINF
from auditkit.errors import AuditkitError, PluginError, SettingError, did_you_mean
from auditkit.factors import FactorFolder
from auditkit.memory import give_back
from auditkit.plugins import said
from auditkit.progress import SILENT, Progress
from auditkit.record import Job, Stages, run_record, subject_record, work_key
from auditkit.registry import Registry
from auditkit.report.examples import shown_previews
from auditkit.report.render import render
from auditkit.results import AuditResult, Given, Note
from auditkit.seeds import seeded
from auditkit.showing import Section
from auditkit.store import Run
from auditkit.subject import Subject

FACTORS = ".factors"
"""The folder beside the runs that keeps curvature for the next audit of the same model."""


def run(
    audit: str | AuditClass,
    subject: Subject,
    *,
    out: Path | str = "runs",
    settings: Mapping[str, Given] | Settings | None = None,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int | None = None,
    top: int = 200,
    progress: Progress = SILENT,
    command: str | None = None,
    registry: Registry | None = None,
    listener: Callable[[str], None] | None = None,
) -> Run:
    """Run an audit on a subject, store what it found and render its report.

    Args:
        audit: the name of an audit, or an audit class.
        subject: what is audited; it and all random states come back as they were.
        out: the folder that holds runs; the run gets a folder of its own there.
        settings: the audit's settings, by name or as an object; defaults for what is left out.
        seed: every random choice derives from it.
        device: torch's name of the device to work on.
        batch_size: examples per forward pass; None lets the engine choose.
        top: how many findings, worst first, the report shows with their examples.
        progress: where passes say how far they are.
        command: the command line to record.
        registry: the plugins to use; by default those installed.
        listener: is told what the audit says while it runs, an estimate before long work.

    Raises:
        UnknownNameError: there is no audit of that name.
        SettingError: a setting does not exist or is out of range, or there is no such device.
        AuditkitError: the subject or the data cannot be audited, or the run not be stored.
    """
    registry = registry or Registry()
    audit_class = registry.audit(audit) if isinstance(audit, str) else audit
    job = Job(
        audit_class,
        subject,
        check_settings(audit_class, settings or {}),
        seed=seed,
        device=device,
        batch_size=batch_size,
        top=top,
        command=command,
        plugin=registry.origin(audit_class),
    )
    check_device(device)
    audit_class.requirements.check(subject, audit_class.name)
    stages, run_id, told = Stages(), store.new_id(), len(registry.warnings)
    with (
        seeded(seed),
        store.writing(Path(out), audit_class.name, run_id) as (folder, final),
        store.Work(Path(out), lambda: work_key(job, about)) as work,
    ):
        with stages.time("reading"):
            about, notes = subject_record(subject, progress=progress), _data_notes(subject)
        with stages.time("audit"):
            desk = _Desk(notes, progress, work, FactorFolder(Path(out) / FACTORS), listener)
            result = _audit(job, desk)
        give_back()  # drawing the report takes as much again as is left of the audit
        with stages.time("previews"):
            previews = shown_previews(
                subject,
                result,
                _sections(audit_class, result, registry),
                audit=audit_class.name,
                judged=result.judged or audit_class.judged,
                top=top,
            )
        record = run_record(job, result, about, run_id, stages.seconds)
        store.write_result(folder, record, result, previews)
        render_report(Run(folder, record), audit_class, registry=registry)
    work.remove()
    finished = Run(final, record)
    registry.audit_finished(finished)
    return replace(finished, warnings=tuple(registry.warnings[told:]))


def check_settings(audit: AuditClass, given: Mapping[str, Given] | Settings) -> Settings:
    """The audit's settings with what is given, checked.

    Raises:
        SettingError: a setting that does not exist, or a value out of its range.
    """
    declared: type[Settings] = audit.settings
    if isinstance(given, Settings):
        if not isinstance(given, declared):
            raise SettingError(
                f"The settings are {type(given).__name__} and the {audit.name} audit takes "
                f"{declared.__name__}."
            )
        return given
    known = declared.model_fields
    for name in given:
        if name not in known:
            raise SettingError(
                f"The {audit.name} audit has no setting {name!r}; {did_you_mean(name, known)}"
            )
    try:
        return declared.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise SettingError(
            f"The setting {name!r} of the {audit.name} audit is {given.get(name)!r}: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error


def render_report(run: Run, audit: AuditClass, *, registry: Registry) -> Path:
    """Render the report of a run from its folder, again or for the first time.

    Raises:
        StoreError: the run cannot be read, or the report not be written.
        PluginError: the audit fails to make sections of its own result.
    """
    sections = _sections(audit, run.result, registry)
    with store.writable(run.path.parent):
        return render(run, sections, template_folders=registry.template_folders())


def _sections(audit: AuditClass, result: AuditResult, registry: Registry) -> list[Section]:
    """The sections of an audit's report, its own and those that plugins add."""
    try:
        own = list(audit().sections(result))
    except AuditkitError:
        raise
    except Exception as error:
        raise PluginError(
            f"The {audit.name} audit failed to make the sections of its report with {said(error)}."
        ) from error
    calibration = calibration_section(result)
    own += [calibration] if calibration is not None else []
    return [*own, *registry.report_sections(audit.name, result)]


@dataclass(frozen=True)
class _Desk:
    """Where an audit notes, shows how far it is, and keeps what is not the result."""

    notes: list[Note]
    progress: Progress
    work: store.Work
    factors: FactorFolder
    listener: Callable[[str], None] | None


def _audit(job: Job, desk: _Desk) -> AuditResult:
    """The audit's result, with every note that came up on the way."""
    settings, notes = job.settings, desk.notes

    def warn(text: str) -> None:
        notes.append(Note(level="warning", text=text))

    context: AuditContext[Settings] = AuditContext(
        subject=job.subject,
        settings=settings,
        scoring=None if job.subject.task is None else _engine(job, desk, warn=warn),
        seed=job.seed,
        device=job.device,
        progress=desk.progress,
        notes=notes,
        workplace=desk.work.folder,
        listener=desk.listener,
    )
    chosen = None
    if isinstance(settings, InfluenceSettings) and settings.calibrate:
        chosen = calibrated(context, settings, lambda: _engine(job, desk, warn=None))
        engine = context.engine.configured(rise=chosen.rise, damping=chosen.damping)
        context = replace(context, scoring=engine)
    result: object = job.audit().audit(context)
    if not isinstance(result, AuditResult):
        raise PluginError(
            f"The {job.audit.name} audit returned a {type(result).__name__}: `audit` returns an "
            "auditkit.AuditResult."
        )
    result = result if chosen is None else chosen.added_to(result)
    every = [*notes, *result.notes]
    return replace(result, notes=tuple(dict.fromkeys(every)))


def _engine(job: Job, desk: _Desk, *, warn: Callable[[str], None] | None) -> ForwardINF:
    """The engine on the job's subject."""
    subject = job.subject
    return ForwardINF(
        subject.required_task(),
        train=subject.train,
        checkpoints=subject.checkpoints,
        recipe=subject.recipe,
        fresh=subject.fresh,
        pretrained=subject.pretrained,
        replays=0,  # audits ask for them where they are worth their time
        seed=job.seed,
        device=job.device,
        batch_size=job.batch_size,
        factors=desk.factors,
        progress=desk.progress,
        warn=warn,
    )


def _data_notes(subject: Subject) -> list[Note]:
    notes = []
    for name, pool in (("train pool", subject.train), ("queries", subject.queries)):
        unstable = None if pool is None else fingerprint.first_unstable(pool)
        if unstable is not None:
            text = (
                f"The example {unstable!r} of the {name} differs when it is read twice, by random "
                "augmentation perhaps: what is measured of it is one random reading; give the "
                "audit the data without augmentation, and augment in Recipe(augment=...)."
            )
            notes.append(Note(level="warning", text=text))
    return notes
