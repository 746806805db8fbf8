"""Ready tasks for the usual kinds of models."""

from auditkit.tasks.classification import ClassificationTask
from auditkit.tasks.diffusion import DiffusionTask
from auditkit.tasks.documents import Answers, Documents
from auditkit.tasks.language_model import LanguageModelTask
from auditkit.tasks.regression import RegressionTask

__all__ = [
    "Answers",
    "ClassificationTask",
    "DiffusionTask",
    "Documents",
    "LanguageModelTask",
    "RegressionTask",
]
