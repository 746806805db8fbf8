"""The decisions a person made in a report: keep, fix or drop, a line of a CSV file for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from auditkit.errors import ColumnError, SettingError, UnknownNameError, UnreadableError
from auditkit.sources.frames import column

_DECISIONS = ("keep", "fix", "drop")

_GUARDED = re.compile(r"'(?=['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""The apostrophe that reports put before what a spreadsheet would take for a formula."""


@dataclass(frozen=True)
class Decisions:
    """What is to be done with which example.

    Attributes:
        ids: every example a decision was made on.
        fixes: the label to give, by id.
        drops: the ids of the examples to leave out.
    """

    ids: frozenset[str]
    fixes: Mapping[str, str]
    drops: frozenset[str]

    def refuse_unknown(self, known: Iterable[str], *, data: str) -> None:
        """Refuse decisions on examples that the data does not hold.

        Raises:
            UnknownNameError: there is such a decision.
        """
        unknown = sorted(self.ids - frozenset(known))
        if unknown:
            others = f" and {len(unknown) - 1} others" if len(unknown) > 1 else ""
            raise UnknownNameError(
                f"There are decisions on {unknown[0]!r}{others}, and {data} holds no example of "
                "that id: give the data the report was made of, with the same --id."
            )


def read_decisions(path: Path) -> Decisions:
    """Read a CSV file with `example_id`, `decision` and, for fixes, `suggested_label`.

    An empty decision means keep. The apostrophe that reports put before cells which a spreadsheet
    would take for formulas is taken off.

    Raises:
        ColumnError: a column is missing.
        SettingError: an unknown decision, a fix without a label, or two decisions on one example.
        UnreadableError: the file is no CSV file.
    """
    frame = _read(path)
    ids = _bare(column(frame, "example_id", table=path.name, role="ids"))
    made = column(frame, "decision", table=path.name, role="decisions").to_list()
    labels: list[str | None] = [None] * frame.height
    if "suggested_label" in frame.columns:
        labels = _bare(frame["suggested_label"])
    found: dict[str, tuple[str, str | None]] = {}
    for line, (name, text, label) in enumerate(zip(ids, made, labels, strict=True), start=2):
        decision = (text or "keep").strip().lower()
        if name is None or decision not in _DECISIONS:
            raise SettingError(
                f"Line {line} of {path.name} has the decision {text!r} on {name!r}: expected "
                f"{', '.join(_DECISIONS)} on the id of an example."
            )
        if decision == "fix" and not label:
            raise SettingError(
                f"Line {line} of {path.name} fixes {name!r} and has no suggested_label: say which "
                "label it should have."
            )
        this = (decision, label if decision == "fix" else None)
        if found.setdefault(name, this) != this:
            raise SettingError(
                f"Line {line} of {path.name} is a second, different decision on {name!r}: make one."
            )
    return Decisions(
        ids=frozenset(found),
        fixes={name: label for name, (_, label) in found.items() if label is not None},
        drops=frozenset(name for name, (decision, _) in found.items() if decision == "drop"),
    )


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def _bare(cells: pl.Series) -> list[str | None]:
    """The cells without the apostrophe that guards them."""
    return [cell if cell is None else _unguarded(cell) for cell in cells]


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise ColumnError(
            f"{path.name} is empty: expected the columns example_id and decision."
        ) from error
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UnreadableError(f"The decisions in {path} cannot be read: {reason}.") from error
