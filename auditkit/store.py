"""Run folders: written whole or not at all, read back with nothing but the folder.

runs/2026-11-23-mislabel-3fa9c1/
run.json            the record: settings, seed, versions, hashes, timing, answer
findings.parquet    every example judged, by rank
findings.csv        the same
previews.parquet    what the reader sees of the examples the report shows
tables/NAME.parquet further frames of the audit
report.html

Beside runs there may be hidden folders of work that was interrupted (`Work`).
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from auditkit.errors import StoreError, UnknownNameError, did_you_mean
from auditkit.findings import Findings
from auditkit.results import AuditResult, Given, Note, Number, SelfCheck
from auditkit.showing import PoolName

FORMAT = 1
"""The version of the run folder's layout; a reader refuses newer ones."""


class SubjectRecord(BaseModel):
    """What was audited, well enough to know it again.

    `weights` and `data` are SHA-256 sums of the model's state and of the train pool's ids and
    examples; `task` and `weights` are null where there is no model.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    description: tuple[str, ...]
    task: str | None
    parameters: int
    examples: int
    queries: int | None
    checkpoints: int
    class_names: tuple[str, ...] | None
    weights: str | None
    data: str


class RunRecord(BaseModel):
    """Everything about a run but its frames: the content of `run.json`.

    `created` is in UTC, `seconds` holds wall-clock time by stage, `peak_memory` is the process's
    peak resident set in bytes, `command` is the command line where there was one.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    id: str
    audit: str
    title: str
    question: str
    created: datetime
    subject: SubjectRecord
    settings: Mapping[str, Given]
    seed: int
    device: str
    batch_size: int | None
    top: int
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    peak_memory: int
    command: str | None = None
    answer: str
    rate: float
    summary: Mapping[str, Number]
    notes: tuple[Note, ...]
    self_check: SelfCheck | None
    tables: tuple[str, ...]
    judged: PoolName


@dataclass(frozen=True)
class Run:
    """One stored execution of an audit."""

    path: Path
    record: RunRecord
    warnings: tuple[str, ...] = ()
    """What went wrong beside the audit, with plugins for example; not stored."""

    @property
    def report(self) -> Path:
        """The report, one self-contained HTML file."""
        return self.path / "report.html"

    @cached_property
    def findings(self) -> Findings:
        """What the audit claims, one row per example judged."""
        return Findings.read(self.path)

    @cached_property
    def previews(self) -> pl.DataFrame:
        """What the reader sees of the examples the report shows."""
        return _read_frame(self.path / "previews.parquet")

    @cached_property
    def result(self) -> AuditResult:
        """What the audit returned, read back."""
        tables = {
            name: _read_frame(self.path / "tables" / f"{name}.parquet")
            for name in self.record.tables
        }
        return AuditResult(
            findings=self.findings,
            answer=self.record.answer,
            rate=self.record.rate,
            summary=self.record.summary,
            notes=self.record.notes,
            tables=tables,
            self_check=self.record.self_check,
            judged=self.record.judged,
        )


def new_id() -> str:
    """A short random id for a run, six hexadecimal digits."""
    return uuid.uuid4().hex[:6]


@contextmanager
def writing(out: Path, audit: str, run_id: str) -> Iterator[tuple[Path, Path]]:
    """Give (a temporary folder to write in, the folder it becomes); rename it at the end.

    Whatever ends the block early, Ctrl-C included, removes the temporary folder.

    Raises:
        StoreError: the folder cannot be made or renamed.
    """
    final = out / f"{datetime.now(UTC):%Y-%m-%d}-{audit}-{run_id}"
    temporary = out / f".{final.name}.writing"
    is_new = not out.exists()
    with writable(out):
        temporary.mkdir(parents=True)
    try:
        yield temporary, final
        with writable(out):
            temporary.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and not final.exists():
            with suppress(OSError):  # another run may have moved in
                out.rmdir()


class Work:
    """Where a run keeps work that it will go on with if it is interrupted.

    Args:
        out: the folder that holds runs.
        key: gives a name that is the same whenever the run would be the same; asked for only
            where there is work to keep.
    """

    def __init__(self, out: Path, key: Callable[[], str]) -> None:
        self._out, self._key = out, key
        self._path: Path | None = None

    def folder(self) -> Path:
        """The folder, hidden beside the runs; made where it is not there.

        Raises:
            StoreError: it cannot be made.
        """
        path = self._path or self._out / f".{self._key()}.unfinished"
        with writable(self._out):
            path.mkdir(parents=True, exist_ok=True)
        self._path = path
        return path

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever ends the run: a folder in which nothing was finished is not left behind."""
        if self._path is not None and not any(path.is_file() for path in self._path.rglob("*")):
            self.remove()

    def remove(self) -> None:
        """Remove the folder, if it was made, and all in it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Turn what goes wrong in writing, and nothing else should be done within, into one sentence.

    Raises:
        StoreError: the disk is full, or the folder may not be written to.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StoreError(
            f"The run could not be written to {out}: {reason}; give a folder on a disk with room "
            "that you may write to (--out DIR)."
        ) from error


def write_result(
    folder: Path, record: RunRecord, result: AuditResult, previews: pl.DataFrame
) -> None:
    """Write a record, the frames of a result and previews into a folder being written.

    Raises:
        StoreError: they cannot be written.
    """
    with writable(folder.parent):
        (folder / "run.json").write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        result.findings.write(folder)
        previews.write_parquet(folder / "previews.parquet")
        if result.tables:
            (folder / "tables").mkdir()
        for name, frame in result.tables.items():
            frame.write_parquet(folder / "tables" / f"{name}.parquet")


def open_run(path: Path) -> Run:
    """The run stored in a folder.

    Raises:
        StoreError: no run in it, or one of a newer format.
    """
    try:
        text = (path / "run.json").read_text(encoding="utf-8")
        record = RunRecord.model_validate_json(text)
    except OSError as error:
        raise StoreError(f"{path} holds no readable run: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise StoreError(
            f"{path} holds no readable run: in run.json, {place}: {first['msg']}."
        ) from error
    except ValueError as error:
        raise StoreError(f"{path} holds no readable run: run.json is no text.") from error
    if record.format > FORMAT:
        raise StoreError(
            f"{path} was written in format {record.format} and this auditkit reads up to "
            f"{FORMAT}: upgrade auditkit."
        )
    return Run(path, record)


def list_runs(out: Path) -> list[Run]:
    """The readable runs in a folder, newest first; folders that hold none are passed over."""
    runs = []
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if not path.name.startswith("."):
            with suppress(StoreError):
                runs.append(open_run(path))
    return sorted(runs, key=lambda run: run.record.created, reverse=True)


def find_run(name: str, out: Path) -> Run:
    """The run of this path, folder name or short id.

    Raises:
        UnknownNameError: none, or several by that id.
    """
    if (Path(name) / "run.json").is_file():
        return open_run(Path(name))
    runs = list_runs(out)
    found = [run for run in runs if name in (run.record.id, run.path.name)]
    if len(found) != 1:
        raise UnknownNameError(
            f"There is no run {name!r} in {out}; "
            + did_you_mean(name, (run.path.name for run in runs))
        )
    return found[0]


def _read_frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from error
