"""The plugins of one process: found, loaded and called, one at a time.

Plugins come in by the `auditkit` entry-point group alone, auditkit's own audits too. One that is
broken costs a warning that names it and its distribution, and everything else works on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from auditkit.audit import Audit, AuditClass
from auditkit.declarations import problems_of
from auditkit.errors import (
    AuditkitError,
    PluginError,
    SubjectReferenceError,
    UnknownNameError,
    did_you_mean,
)
from auditkit.hookspecs import SourceOptions, hookimpl
from auditkit.plugins import (
    DISTRIBUTION,
    Candidate,
    LoadedPlugin,
    discover,
    load,
    register,
    said,
    version_of,
)
from auditkit.results import AuditResult
from auditkit.showing import Section
from auditkit.subject import Subject

if TYPE_CHECKING:
    import click

    from auditkit.store import Run

ENVIRONMENT = "AUDITKIT_PLUGINS"
"""The environment variable that names the only plugins to load, separated by commas."""

Status: TypeAlias = Literal["active", "off", "broken", "shadowed"]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What became of an installed plugin, and the hooks it implements."""

    candidate: Candidate
    status: Status
    hooks: tuple[str, ...] = ()
    reason: str = ""


class Registry:
    """What there is of plugins and audits, and what went wrong with them.

    `warnings` grows as plugins fail; `outcomes` has one entry for every installed plugin.

    Args:
        candidates: the plugins there are, in order of precedence; by default the installed ones.
        only: names of the plugins to load; by default what `AUDITKIT_PLUGINS` says, else all.
        without: names of plugins not to load.

    Raises:
        UnknownNameError: `without` names a plugin that is not there.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate] | None = None,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.warnings: list[str] = []
        self.outcomes: list[Outcome] = []
        self._loaded: list[LoadedPlugin] = []
        self._audits: dict[str, tuple[AuditClass, LoadedPlugin]] = {}
        found = discover() if candidates is None else list(candidates)
        only = _from_environment() if only is None else only
        self._check_names({candidate.name for candidate in found}, only=only, without=without)
        for candidate in [_OWN_SOURCES, *found]:
            is_own = candidate is _OWN_SOURCES
            wanted = is_own or only is None or candidate.name in only
            if not wanted or candidate.name in without:
                self.outcomes.append(Outcome(candidate, "off", reason="switched off"))
            else:
                self._load(candidate)
        for plugin in self._implementing("audits"):
            for audit in self._answers(plugin, "audits", _as_audit):
                self._add_audit(audit, plugin)

    @property
    def audits(self) -> Mapping[str, AuditClass]:
        """The audit classes there are, by name."""
        return {name: audit for name, (audit, _) in sorted(self._audits.items())}

    def audit(self, name: str) -> AuditClass:
        """The audit of this name.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self._audits:
            raise UnknownNameError(
                f"There is no audit {name!r}; {did_you_mean(name, self._audits)}"
            )
        return self._audits[name][0]

    def origin(self, audit: AuditClass) -> Candidate | None:
        """The plugin that brought an audit; None for a class given by hand."""
        held = self._audits.get(audit.name)
        return held[1].candidate if held is not None and held[0] is audit else None

    def template_folders(self) -> dict[str, Path]:
        """The `templates` folder of each audit's package, by the audit's name, where it has one."""
        folders: dict[str, Path] = {}
        for name, (_, plugin) in self._audits.items():
            module = plugin.implementation
            places = (
                module.__path__ if isinstance(module, ModuleType) and _is_package(module) else ()
            )
            found = [Path(place) / "templates" for place in places]
            folders.update((name, folder) for folder in found if folder.is_dir())
        return folders

    def load_subject(self, reference: str, options: SourceOptions) -> Subject:
        """The subject of the first plugin that knows the reference.

        Raises:
            SubjectReferenceError: none does.
            PluginError: a plugin fails on it.
            AuditkitError: whatever a plugin says is wrong with the reference.
        """
        for plugin in self._implementing("load_subject"):
            try:
                subject = plugin.call("load_subject", reference=reference, options=options)
            except AuditkitError:
                raise
            except Exception as error:
                raise PluginError(
                    f"The plugin {plugin.candidate} failed to load {reference!r} with "
                    f"{said(error)}; switch it off with --no-plugin {plugin.candidate.name}."
                ) from error
            if isinstance(subject, Subject):
                return subject
            if subject is not None:
                raise PluginError(
                    f"The plugin {plugin.candidate} gave a {type(subject).__name__} for "
                    f"{reference!r}: `load_subject` returns an auditkit.Subject, or None to pass."
                )
        raise SubjectReferenceError(
            f"No plugin knows what {reference!r} is: give package.module:name, file.py:name, or "
            "the path of a table, an image folder or embeddings."
        )

    def report_sections(self, audit: str, result: AuditResult) -> list[Section]:
        """What plugins add to the report of an audit; a plugin that fails costs a warning."""
        return [
            section
            for plugin in self._implementing("report_sections")
            for section in self._answers(
                plugin, "report_sections", _as_section, audit=audit, result=result
            )
        ]

    def commands(self) -> list[click.Command]:
        """Further commands of plugins; a plugin that fails costs a warning."""
        return [
            command
            for plugin in self._implementing("commands")
            for command in self._answers(plugin, "commands", _as_command)
        ]

    def audit_finished(self, run: Run) -> None:
        """Tell every plugin of a stored run; a plugin that fails costs a warning."""
        for plugin in self._implementing("audit_finished"):
            self._try(plugin, "audit_finished", run=run)

    def _check_names(
        self, names: set[str], *, only: Collection[str] | None, without: Collection[str]
    ) -> None:
        names = names | {_OWN_SOURCES.name}
        for name in without:
            if name not in names:
                raise UnknownNameError(f"There is no plugin {name!r}; {did_you_mean(name, names)}")
        self.warnings += [
            f"{ENVIRONMENT} names a plugin {name!r} that is not installed; "
            + did_you_mean(name, names)
            for name in only or ()
            if name not in names
        ]

    def _load(self, candidate: Candidate) -> None:
        taken = {plugin.candidate.name: plugin.candidate for plugin in self._loaded}
        if candidate.name in taken:
            reason = f"Its name is taken by the plugin {taken[candidate.name]}."
            self._leave_out(candidate, "shadowed", reason)
            return
        try:
            is_own = candidate is _OWN_SOURCES
            plugin = register(candidate, _Sources()) if is_own else load(candidate)
        except PluginError as error:
            self._leave_out(candidate, "broken", str(error))
            return
        self._loaded.append(plugin)
        self.outcomes.append(Outcome(candidate, "active", plugin.hooks))

    def _leave_out(self, candidate: Candidate, status: Status, reason: str) -> None:
        self.outcomes.append(Outcome(candidate, status, reason=reason))
        self.warnings.append(f"The plugin {candidate} is left out. {reason}")

    def _add_audit(self, audit: AuditClass, plugin: LoadedPlugin) -> None:
        problems = problems_of(audit)
        if not problems and audit.name in self._audits:
            first = self._audits[audit.name][1].candidate
            problems = [f"The plugin {first} brings an audit of the same name, {audit.name!r}."]
        if problems:
            self.warnings.append(
                f"The audit {audit.__name__} of the plugin {plugin.candidate} is left out. "
                + " ".join(problems)
            )
        else:
            self._audits[audit.name] = (audit, plugin)

    def _implementing(self, hook: str) -> Iterator[LoadedPlugin]:
        """The plugins that implement a hook: those that ask to be first, the rest, the last."""
        holding = [plugin for plugin in self._loaded if hook in plugin.hooks]
        yield from sorted(holding, key=lambda plugin: plugin.place(hook))

    def _answers(
        self, plugin: LoadedPlugin, hook: str, read: Callable[[object], T], **arguments: object
    ) -> list[T]:
        """The entries a plugin answers with; one that cannot be used costs a warning."""
        answer = self._try(plugin, hook, **arguments)
        if answer is None:
            return []
        if not isinstance(answer, Sequence) or isinstance(answer, str):
            self._warn(plugin, hook, f"returned a {type(answer).__name__}, expected a sequence")
            return []
        entries = []
        for entry in answer:
            try:
                entries.append(read(entry))
            except PluginError as error:
                self._warn(plugin, hook, f"returned {entry!r}: {error}")
        return entries

    def _try(self, plugin: LoadedPlugin, hook: str, **arguments: object) -> object:
        try:
            return plugin.call(hook, **arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
            self._warn(plugin, hook, f"failed with {said(error)}")
            return None

    def _warn(self, plugin: LoadedPlugin, hook: str, what: str) -> None:
        self.warnings.append(
            f"The hook {hook!r} of the plugin {plugin.candidate} {what.rstrip('.')}; its part is "
            "left out."
        )


class _Sources:
    """auditkit's own sources, as the plugin that is asked last."""

    @hookimpl(trylast=True)
    def load_subject(self, reference: str, options: SourceOptions) -> Subject | None:
        from auditkit.sources import load as load_source  # noqa: PLC0415 - brings torch

        return load_source(reference, options, progress=options.progress)


_OWN_SOURCES = Candidate("sources", DISTRIBUTION, version_of(DISTRIBUTION))


def _from_environment() -> list[str] | None:
    named = os.environ.get(ENVIRONMENT)
    if named is None:
        return None
    return [name.strip() for name in named.split(",") if name.strip()]


def _is_package(module: ModuleType) -> bool:
    return hasattr(module, "__path__")


def _as_audit(entry: object) -> AuditClass:
    if isinstance(entry, type) and issubclass(entry, Audit):
        return entry
    raise PluginError("expected a subclass of auditkit.Audit")


def _as_section(entry: object) -> Section:
    if isinstance(entry, Section):
        return entry
    raise PluginError("expected an auditkit.Section")


def _as_command(entry: object) -> click.Command:
    from click import Command  # noqa: PLC0415 - the library itself needs no command line

    if isinstance(entry, Command):
        return entry
    raise PluginError("expected a click.Command")
