"""Which examples a report shows: those of its worst findings, and those its sections name."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from auditkit.errors import PluginError
from auditkit.pool import Pool
from auditkit.report.previews import preview_frame
from auditkit.results import AuditResult
from auditkit.showing import PoolName, Section
from auditkit.subject import Subject

OTHER = "other_id"
"""The column of findings that pairs an example with one of the train pool."""


def shown_previews(
    subject: Subject,
    result: AuditResult,
    sections: Sequence[Section],
    *,
    audit: str,
    judged: PoolName,
    top: int,
) -> pl.DataFrame:
    """What the reader sees of every example the report shows, columns of `previews.SCHEMA`.

    Args:
        subject: has the pools.
        result: its findings name examples of the pool `judged`.
        sections: their galleries name examples of either pool.
        audit: the audit's name, for messages.
        judged: the pool the findings are about.
        top: how many findings the report shows.

    Raises:
        PluginError: an id that is in no pool it could be of.
    """
    findings = result.findings.frame
    _known(subject, judged, findings["example_id"].to_list(), audit=audit)
    wanted: dict[PoolName, list[str]] = {"train": [], "queries": []}
    wanted[judged] += findings["example_id"].unique(maintain_order=True).head(top).to_list()
    if OTHER in findings.columns:
        wanted["train"] += findings[OTHER].head(top).drop_nulls().to_list()
    for section in sections:
        for gallery in section.galleries:
            for row in gallery.rows:
                for shown in row.shown:
                    wanted[shown.pool].append(shown.id)
    return pl.concat(
        preview_frame(_known(subject, name, ids, audit=audit), ids, name=name)
        for name, ids in wanted.items()
        if ids or name == "train"
    )


def _known(subject: Subject, name: PoolName, ids: Sequence[str], *, audit: str) -> Pool:
    """The pool of that name, which holds the examples of these ids.

    Raises:
        PluginError: it does not, or there is no such pool.
    """
    pool = subject.train if name == "train" else subject.queries
    if pool is None:
        raise PluginError(
            f"The {audit} audit judges or shows queries and ran without any: its requirements must "
            'say `queries="required"`, or its result `judged="train"`.'
        )
    unknown = set(ids).difference(pool.ids)
    if unknown:
        raise PluginError(
            f"The {audit} audit found or shows {min(unknown)!r}, which is no example of the pool "
            f"it names ({name}): take ids from that pool, or set `judged`."
        )
    return pool
