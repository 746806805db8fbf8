"""One plugin: as its distribution names it, and as it is once imported.

Three things that pluggy lets pass are caught when plugins are loaded: a misspelt hook (here), an
import that raises (here), and a second plugin under a name that is taken (`auditkit.registry`).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata

import pluggy

from auditkit import hookspecs
from auditkit.errors import PluginError, did_you_mean
from auditkit.hookspecs import NAMESPACE

DISTRIBUTION = "auditkit-influence"
"""The distribution auditkit and its own plugins come in."""


@dataclass(frozen=True)
class Candidate:
    """An installed plugin, as its distribution's metadata names it; nothing of it is imported."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.name!r} of the distribution {self.distribution} {self.version}"


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that was imported and whose hooks are all as specified.

    Each has a manager of its own: what one does or fails to do is no other's affair.
    """

    candidate: Candidate
    implementation: object
    manager: pluggy.PluginManager = field(repr=False)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The names of the hooks it implements."""
        callers = self.manager.get_hookcallers(self.implementation) or []
        return tuple(sorted(caller.name for caller in callers if caller.has_spec()))

    def place(self, hook: str) -> int:
        """-1 where it asks to be called first for a hook, 1 where last, else 0."""
        first = getattr(self.manager.hook, hook).get_hookimpls()[0]
        return int(first.trylast) - int(first.tryfirst)

    def call(self, hook: str, **arguments: object) -> object:
        """What this plugin answers; of the arguments it is given those that it names."""
        answer: object = getattr(self.manager.hook, hook)(**arguments)
        if isinstance(answer, list) and hook != "load_subject":
            return answer[0] if answer else None
        return answer


def discover() -> list[Candidate]:
    """The plugins of the `auditkit` entry-point group, auditkit's own first; imports nothing."""
    found = [
        Candidate(
            name=entry_point.name,
            distribution=entry_point.dist.name if entry_point.dist else "an unknown distribution",
            version=entry_point.dist.version if entry_point.dist else "",
            entry_point=entry_point,
        )
        for entry_point in metadata.entry_points(group=NAMESPACE)
    ]
    return sorted(
        found, key=lambda plugin: (plugin.distribution != DISTRIBUTION, plugin.distribution.lower())
    )


def version_of(distribution: str) -> str:
    """The version of an installed distribution; `unknown` where its metadata is missing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def load(candidate: Candidate) -> LoadedPlugin:
    """Import a plugin and check its hooks.

    Raises:
        PluginError: the import raises, or a hook is misspelt, of the wrong arguments, or missing.
    """
    if candidate.entry_point is None:
        raise PluginError("It has no entry point.")
    try:
        implementation = candidate.entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"Its import failed with {said(error)}.") from error
    return register(candidate, implementation)


def register(candidate: Candidate, implementation: object) -> LoadedPlugin:
    """Check the hooks of an imported plugin.

    Raises:
        PluginError: a hook is misspelt or takes other arguments, or there is none.
    """
    manager = pluggy.PluginManager(NAMESPACE)
    manager.add_hookspecs(hookspecs)
    known = [name for name in vars(manager.hook) if not name.startswith("_")]
    try:
        manager.register(implementation, name=candidate.name)
        _refuse_misspelt(manager.get_hookcallers(implementation) or (), known)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"Its hooks are not as specified: {' '.join(str(error).split())}.") from (
            error
        )
    loaded = LoadedPlugin(candidate, implementation, manager)
    if not loaded.hooks:
        raise PluginError("It implements no hook: mark its functions with @auditkit.hookimpl.")
    return loaded


def said(error: BaseException) -> str:
    """An exception of somebody else's code in a few words: its class, message and place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"


def _refuse_misspelt(callers: Iterable[pluggy.HookCaller], known: list[str]) -> None:
    for caller in callers:
        optional = all(implementation.optionalhook for implementation in caller.get_hookimpls())
        if not caller.has_spec() and not optional:
            raise PluginError(
                f"It implements {caller.name!r}, which is no hook; "
                + did_you_mean(caller.name, known)
            )
