"""The parts of the mirror report, from a stored result alone."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Section
from auditkit_mirror.choosing import best_setting
from auditkit_mirror.plan import in_words


def sections(result: AuditResult) -> Sequence[Section]:
    """Whether they agree, what formulas say, which settings this supports, and what is missing."""
    parts = [_linear(result)]
    if "groups" in result.tables:
        parts.append(_groups(result))
    return (*parts, _sizes(result), _settings(result), _more(result))


def _linear(result: AuditResult) -> Section:
    points = result.tables["points"]
    chart = (
        alt.Chart(points)
        .mark_point(opacity=0.6)
        .encode(
            x=alt.X("train to test:Q", title="query's loss, example left out",
                    axis=alt.Axis(tickCount=4)),
            y=alt.Y("test to train:Q", title="example's loss, query put in"),
        )
        .properties(width=180, height=180)
        .facet(column=alt.Column("query:N", title="query, worst predicted first"))
    )  # fmt: skip
    rows, queries = result.summary["training examples left out"], result.summary["queries"]
    return Section(
        title="One example, one query",
        paragraphs=(
            f"A linear model on the model's features was trained again without each of {rows:,} "
            f"examples, and with each of {queries} queries put in, to convergence. Both sides are "
            "exact here. The verdict takes the second row of the table: a query is put in without "
            "strengthening the regularizer, as the engine does.",
            "Ranks agree less than values, since most examples have next to no influence, and "
            "there two things decide the ranks that are not the pull of the example: a query that "
            "is put in also strengthens the regularizer, and moves the weights far enough for the "
            "loss to bend. Rows two and three of the table take away first the one, then both.",
        ),
        figures=(
            Figure(chart, "Each point is a training example, in units of typical influence."),
        ),
        table=_table(result.tables["correlations"]),
    )


def _table(frame: pl.DataFrame) -> pl.DataFrame:
    """Correlations with their intervals as text, which is how they are read."""
    return frame.select(
        "setting",
        _between("Pearson", "from", "to").alias("Pearson (95 %)"),
        _between("Spearman", "rank from", "rank to").alias("Spearman (95 %)"),
    )


def _between(value: str, low: str, high: str) -> pl.Expr:
    """A correlation and its interval, as text."""
    return pl.struct(value, low, high).map_elements(
        lambda row: f"{_shown(row[value])} ({_shown(row[low])} to {_shown(row[high])})",
        return_dtype=pl.String,
    )


def _shown(correlation: float) -> str:
    """Three digits, and no 1 that is none."""
    return "> .999" if 0.9995 <= correlation < 1 - 1e-9 else f"{correlation:.3f}"


def _groups(result: AuditResult) -> Section:
    frame, seeds = result.tables["groups"], result.tables["seeds"]
    chart = (
        alt.Chart(frame)
        .mark_point()
        .encode(
            x=alt.X("train to test:Q", title="queries' mean loss, group left out"),
            y=alt.Y("test to train:Q", title="group's mean loss, queries put in"),
            color=alt.Color(
                "wrong labels:Q",
                title="wrong labels",
                scale=alt.Scale(range=["#2a6fb0", "#c4612d"]),
            ),
        )
        .properties(width=320, height=260)
    )
    curve = (
        alt.Chart(seeds)
        .mark_line(point=True)
        .encode(
            x=alt.X("retrainings:Q", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("Pearson:Q", scale=alt.Scale(zero=False)),
        )
        .properties(width=320, height=160)
    )
    size = result.summary["examples in a group"]
    return Section(
        title="Groups of examples, the model retrained",
        paragraphs=(
            f"Half of the labels of a part of the train pool were made wrong, and groups of {size} "
            "examples drawn of which none to all are wrong. The model was retrained by its recipe "
            "without each group, and with all queries put in.",
            "Retraining is noisy. Groups and several retrainings average the noise out; the second "
            "chart shows how far another retraining would still help.",
        ),
        figures=(
            Figure(chart, "Each point is a group; where they lie on a line, the mirror holds."),
            Figure(curve, "Correlation over groups, by how many retrainings are averaged."),
        ),
    )


def _sizes(result: AuditResult) -> Section:
    frame = result.tables["sizes"]
    long = frame.unpivot(
        on=["retrained with them", "one update of the engine"],
        index=["share of training"],
        variable_name="queries put in",
        value_name="Pearson",
    )
    chart = (
        alt.Chart(long)
        .mark_line(point=True)
        .encode(
            x=alt.X("share of training:Q", scale=alt.Scale(type="log"),
                    axis=alt.Axis(values=frame["share of training"].to_list(), format=".2~g"),
                    title="queries per training example"),
            y=alt.Y("Pearson:Q", scale=alt.Scale(zero=False)),
            color=alt.Color("queries put in:N", title=None,
                            legend=alt.Legend(orient="top", columnPadding=48)),
        )
        .properties(width=440, height=220)
    )  # fmt: skip
    gaps = frame["gap of the formulas"]
    return Section(
        title="How many queries at once",
        paragraphs=(
            "Both directions are one number while the queries are few against the training set. "
            "Put in many at once, and the model that is asked is another one. Between the two "
            f"directions of the influence function the gap is {gaps[0]:.1%} of their size with "
            f"{frame['queries'][0]} and {gaps[-1]:.1%} with {frame['queries'][-1]} queries.",
        ),
        figures=(
            Figure(chart, "Agreement with leaving examples out, by the number of queries at once."),
        ),
        table=frame,
    )


def _settings(result: AuditResult) -> Section:
    frame = result.tables["settings"].filter(pl.col("Pearson").is_not_null())
    best, judged_on = best_setting(result.tables["settings"])
    shown = frame.filter(pl.col("judged on") == judged_on)
    chart = (
        alt.Chart(shown)
        .mark_bar()
        .encode(
            x=alt.X("Pearson:Q"),
            y=alt.Y("setting:N", title=None, sort="-x", axis=alt.Axis(labelLimit=300)),
        )
        .properties(width=320, height=alt.Step(24))
    )
    on = (
        "the same groups, with the scores of their members added up"
        if judged_on == "groups"
        else "the linear model, where it is known exactly what leaving an example out does"
    )
    failed = result.tables["settings"].filter(pl.col("failure") != "")
    told = [f"No scores came of: {'; '.join(failed['setting'])}."] if failed.height else []
    return Section(
        title="Which engine settings this supports",
        paragraphs=(
            f"Scores of the engine were compared with leaving out, on {on}. Use {best}. Another "
            "setting than the default is named only where its whole interval lies above the "
            "default's correlation.",
            *told,
        ),
        figures=(
            Figure(chart, "Correlation of scores with train-to-test influence; 1 is perfect."),
        ),
        table=frame.select(
            "judged on",
            "setting",
            _between("Pearson", "from", "to").alias("Pearson (95 %)"),
            pl.col("Spearman").round(4),
        ),
    )


def _more(result: AuditResult) -> Section:
    minutes = result.summary["minutes a study of groups would need"]
    paragraphs = [
        "The linear model shows whether the hypothesis holds for the last layer, whose features "
        "stay as they are. It cannot show what retraining does to the features."
    ]
    if "groups" not in result.tables:
        needed = (
            in_words(60 * minutes)
            if isinstance(minutes, float) and minutes
            else "a subject whose model can be initialized anew"
        )
        paragraphs.append(
            f"The model itself was not retrained: that takes {needed}. Until then, the choice of "
            "settings rests on the linear model."
        )
    else:
        paragraphs.append(
            "Groups say that influence adds up over many examples. For single examples of the "
            "whole model, leave some of them out with auditkit.truth.leave_one_out and several "
            "seeds."
        )
    paragraphs.append(
        "A flagged example is one whose two influences point in opposite directions while at least "
        "one is larger than typical. It is no fault of the example: scores are not to be trusted "
        "on it."
    )
    return Section(title="What it would take to know more", paragraphs=tuple(paragraphs))
