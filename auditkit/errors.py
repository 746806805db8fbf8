"""Everything that can go wrong, as one tree.

    AuditkitError                    exit 3
    ├── UsageError                   exit 2: what was asked for is wrong
    │   ├── SubjectReferenceError        the subject reference leads nowhere
    │   ├── ColumnError                  a named column is missing or unusable
    │   ├── SettingError                 a setting is out of range or contradicts another
    │   └── UnknownNameError             no such audit, plugin or run
    ├── DataError                    exit 3: the data cannot be audited
    │   ├── PoolError                    empty pool, duplicate or misaligned ids
    │   ├── LabelError                   too few classes or examples, labels outside the outputs
    │   ├── FeatureError                 NaN or infinite features
    │   └── UnreadableError              a file cannot be decoded, or is unsafe to load
    ├── TaskError                    exit 3: the task breaks its contract
    │   ├── ReducedLossError             the loss is one number, not one per example
    │   ├── NonFiniteLossError           a loss is NaN or infinite
    │   └── MissingOutputsError          the task declares no `outputs`, and they are needed
    ├── EngineError                  exit 3: the scores cannot be trusted
    │   ├── StepError                    no step reaches the stated rise of the query's measure
    │   ├── NonFiniteScoreError          a score is NaN or infinite
    │   └── SignError                    unlearning a class helps it: the signs cannot be right
    ├── PluginError                  exit 3: a plugin is broken
    └── StoreError                   exit 3: a run cannot be written or read

Every message is one sentence that says what is wrong, what was got, what was expected and
what to do. `exit_code` is what the command line exits with.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class AuditkitError(Exception):
    """The root: catch it to catch everything auditkit raises on purpose."""

    exit_code: ClassVar[int] = 3


class UsageError(AuditkitError):
    """What was asked for is wrong; asking differently can succeed."""

    exit_code = 2


class SubjectReferenceError(UsageError):
    """The subject reference leads to no subject."""


class ColumnError(UsageError):
    """A named column is missing or cannot play the part it was given."""


class SettingError(UsageError):
    """A setting is out of its range or contradicts another one."""


class UnknownNameError(UsageError):
    """There is no audit, plugin or run of that name."""


class DataError(AuditkitError):
    """The data cannot be audited as it is."""


class PoolError(DataError):
    """A pool is empty, or its ids are not one unique string per example."""


class LabelError(DataError):
    """The labels do not make a classification problem the model can answer."""


class FeatureError(DataError):
    """A feature is NaN or infinite, or there is none."""


class UnreadableError(DataError):
    """A file cannot be decoded, or loading it could run code."""


class TaskError(AuditkitError):
    """The user's task breaks the contract of `auditkit.Task`."""


class ReducedLossError(TaskError):
    """`Task.loss` or `Task.measure` gave something other than one number per example."""


class NonFiniteLossError(TaskError):
    """A loss or measure is NaN or infinite; the message names the first example."""


class MissingOutputsError(TaskError):
    """`Task.outputs` is needed here and the task does not define it."""


class EngineError(AuditkitError):
    """The engine cannot give scores worth reading."""


class StepError(EngineError):
    """No step along the update raises the query's measure as far as was asked."""


class NonFiniteScoreError(EngineError):
    """A score is NaN or infinite; the message names the query."""


class SignError(EngineError):
    """Unlearning a class lowers the loss of its own training examples."""


class PluginError(AuditkitError):
    """A plugin cannot be imported, registered or used."""


class StoreError(AuditkitError):
    """A run folder cannot be written or read."""


_NAMED = 30
"""How many known names a message lists."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    candidates = sorted(known)
    close = get_close_matches(name, candidates, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = len(candidates) - _NAMED
    others = f" and {more:,} others" if more > 0 else ""
    return f"known: {', '.join(candidates[:_NAMED])}{others}." if candidates else "there are none."
