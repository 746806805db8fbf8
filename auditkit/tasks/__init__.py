"""Ready tasks for the usual kinds of models."""

from auditkit.tasks.classification import ClassificationTask
from auditkit.tasks.regression import RegressionTask

__all__ = ["ClassificationTask", "RegressionTask"]
