"""auditkit: audit the data behind a trained model, through the model itself.

Importing it is cheap: every public name is imported when it is first asked for, torch with it only
where the name needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditkit import errors as errors
    from auditkit.audit import Audit, AuditClass, Requirements
    from auditkit.context import AuditContext, Engine, InfluenceSettings, Settings
    from auditkit.engine import ForwardINF, UpdateSettings
    from auditkit.factors import FactorFolder
    from auditkit.findings import Findings
    from auditkit.fingerprint import same_examples
    from auditkit.hookspecs import SourceOptions, hookimpl
    from auditkit.labelling import labelled, lacks_labels
    from auditkit.pipeline import run
    from auditkit.pool import Pool
    from auditkit.preview import ImagePreview, RowPreview, TextPreview
    from auditkit.progress import Progress, Silent
    from auditkit.results import AuditResult, Note, SelfCheck
    from auditkit.scores import (
        ClassTables,
        DocumentScores,
        Evaluation,
        Holdout,
        Match,
        Planted,
        Ranking,
        Scores,
    )
    from auditkit.showing import Figure, Gallery, GalleryRow, Mark, Section, Shown
    from auditkit.standing import in_units, together
    from auditkit.store import Run
    from auditkit.subject import Recipe, Subject, Task
    from auditkit.tasks import (
        Answers,
        ClassificationTask,
        DiffusionTask,
        Documents,
        LanguageModelTask,
        RegressionTask,
    )

    __version__: str

__all__ = [
    "Answers",
    "Audit",
    "AuditClass",
    "AuditContext",
    "AuditResult",
    "ClassTables",
    "ClassificationTask",
    "DiffusionTask",
    "DocumentScores",
    "Documents",
    "Engine",
    "Evaluation",
    "FactorFolder",
    "Figure",
    "Findings",
    "ForwardINF",
    "Gallery",
    "GalleryRow",
    "Holdout",
    "ImagePreview",
    "InfluenceSettings",
    "LanguageModelTask",
    "Mark",
    "Match",
    "Note",
    "Planted",
    "Pool",
    "Progress",
    "Ranking",
    "Recipe",
    "RegressionTask",
    "Requirements",
    "RowPreview",
    "Run",
    "Scores",
    "Section",
    "SelfCheck",
    "Settings",
    "Shown",
    "Silent",
    "SourceOptions",
    "Subject",
    "Task",
    "TextPreview",
    "UpdateSettings",
    "__version__",
    "errors",
    "hookimpl",
    "in_units",
    "labelled",
    "lacks_labels",
    "run",
    "same_examples",
    "together",
]

_HOMES = {
    "audit": "Audit AuditClass Requirements",
    "context": "AuditContext Engine InfluenceSettings Settings",
    "engine": "ForwardINF UpdateSettings",
    "factors": "FactorFolder",
    "findings": "Findings",
    "fingerprint": "same_examples",
    "hookspecs": "SourceOptions hookimpl",
    "labelling": "labelled lacks_labels",
    "pipeline": "run",
    "pool": "Pool",
    "preview": "ImagePreview RowPreview TextPreview",
    "progress": "Progress Silent",
    "results": "AuditResult Note SelfCheck",
    "scores": "ClassTables DocumentScores Evaluation Holdout Match Planted Ranking Scores",
    "showing": "Figure Gallery GalleryRow Mark Section Shown",
    "standing": "in_units together",
    "store": "Run",
    "subject": "Recipe Subject Task",
    "tasks": "Answers ClassificationTask DiffusionTask Documents LanguageModelTask RegressionTask",
}
"""The public names by the module they live in."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from auditkit.plugins import DISTRIBUTION, version_of  # noqa: PLC0415 - as all names here

        return version_of(DISTRIBUTION)
    if name == "errors":
        return import_module("auditkit.errors")
    for home, names in _HOMES.items():
        if name in names.split():
            value: object = getattr(import_module(f"auditkit.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'auditkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
