"""Everything a plugin can add, in one table of contents.

A plugin is a module (or object) that implements some of these hooks and is named in the
`auditkit` entry-point group of its distribution:

    [project.entry-points.auditkit]
    mine = "my_package.my_plugin"

It marks its functions with `auditkit.hookimpl`. Plugin modules are imported for `auditkit --help`:
leave heavy imports, torch above all, inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from auditkit.audit import AuditClass
from auditkit.progress import SILENT, Progress
from auditkit.results import AuditResult
from auditkit.showing import Section
from auditkit.subject import Subject

if TYPE_CHECKING:
    import click

    from auditkit.store import Run

NAMESPACE = "auditkit"
hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How a subject is to be read from files: the options every command shares.

    Attributes:
        evaluation: a second path, for audits that compare; None otherwise.
        label: the column that holds the labels.
        id: the column that holds the ids; by default row numbers.
        text: a column to be read as free text even if it does not look like it.
        drop: columns that are not features.
        embeddings: whether the path holds an array of embeddings.
        trusted: a path of the same kind as the subject's, with labels known to be right.
        model: whether a model is to be trained where the data comes without one; if not, folders
            may be flat, labels may be missing, and the subject has no task.
        unlabelled: whether the second path may hold examples without labels.
        model_folder: the local folder of a language model that was trained on the subject's texts,
            or of a diffusion model that was trained on its images.
        base: the local folder of the model whose weights that training began from.
        checkpoints: local folders of the same model as it was at other times of its training.
        language: whether the audit takes language models, so that their folder can be asked for.
        diffusion: whether that is a diffusion model.
        generated: images that it made, or folders of them.
        condition: the class that it was told for these.
        prompt: the prompt that it was given for these.
        seed: for the model that is trained where the data comes without one.
        device: torch's name of the device to train it on.
        batch_size: None lets the source choose.
        progress: where reading and training say how far they are.
    """

    evaluation: Path | None = None
    label: str | None = None
    id: str | None = None
    text: str | None = None
    drop: Sequence[str] = ()
    embeddings: bool = False
    trusted: Path | None = None
    model: bool = True
    unlabelled: bool = False
    model_folder: Path | None = None
    language: bool = False
    base: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    diffusion: bool = False
    generated: tuple[Path, ...] = ()
    condition: str | None = None
    prompt: str | None = None
    seed: int = 0
    device: str = "cpu"
    batch_size: int | None = None
    progress: Progress = SILENT


@hookspec
def audits() -> Sequence[AuditClass]:  # type: ignore[empty-body]
    """The audit classes the plugin brings; each becomes a command of its name."""


@hookspec(firstresult=True)
def load_subject(reference: str, options: SourceOptions) -> Subject | None:
    """Make a subject of a reference on the command line, or return None to pass.

    The first plugin that returns one is used; auditkit's own sources (Python objects, tables,
    image folders, embeddings) are asked last. Raise `auditkit.errors.AuditkitError` where the
    reference is this plugin's but cannot be read.
    """


@hookspec
def report_sections(audit: str, result: AuditResult) -> Sequence[Section]:  # type: ignore[empty-body]
    """Further sections for the report of an audit, by its name; an empty sequence for none."""


@hookspec
def commands() -> Sequence[click.Command]:  # type: ignore[empty-body]
    """Further commands under `auditkit`."""


@hookspec
def audit_finished(run: Run) -> None:
    """Called after a run is stored and its report rendered: to notify, upload or open it."""
