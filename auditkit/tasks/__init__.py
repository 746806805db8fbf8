"""Ready tasks for the usual kinds of models."""

from auditkit.tasks.classification import ClassificationTask
from auditkit.tasks.diffusion import DiffusionTask
from auditkit.tasks.documents import Documents
from auditkit.tasks.language_model import LanguageModelTask
from auditkit.tasks.regression import RegressionTask

__all__ = [
    "ClassificationTask",
    "DiffusionTask",
    "Documents",
    "LanguageModelTask",
    "RegressionTask",
]
