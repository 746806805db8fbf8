from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import altair as alt
import polars as pl
import pytest

from auditkit import Figure, Section
from auditkit.errors import PluginError
from auditkit.report.charts import COLOURS, INK, merged, to_svg
from auditkit.report.page import style

SCRIPT = "<script>alert(1)</script>"
POINTS = pl.DataFrame({"x": [1, 2, 3], "y": [1.0, 4.0, 2.0], "kind": ["a", "b", SCRIPT]})


def points() -> alt.Chart:
    return alt.Chart(POINTS).mark_point().encode(x="x:Q", y="y:Q", color="kind:N")


def texts(svg: str) -> str:
    return "".join(ET.fromstring(svg).itertext())


def test_a_chart_is_one_labelled_image() -> None:
    root = ET.fromstring(to_svg(Figure(points(), 'See "this" & <that>.'), name="one"))
    assert root.get("role") == "img"
    (label,) = [element for element in root if element.get("id") == root.get("aria-labelledby")]
    assert label.text == 'See "this" & <that>.'


def test_texts_of_the_data_are_escaped() -> None:
    svg = str(to_svg(Figure(points(), "Points."), name="one"))
    assert "<script" not in svg.lower()
    assert SCRIPT in texts(svg)


def test_the_themes_colours_follow_the_page(sections: Sequence[Section]) -> None:
    declared = set(re.findall(r"(--[\w-]+):", style()))
    assert {value[4:-1] for value in COLOURS.values()} <= declared
    for section in sections:
        for figure in section.figures:
            svg = str(to_svg(figure, name="one"))
            assert INK not in svg
            assert "var(--ink)" in svg
            assert '"#000' not in svg


def test_a_chart_s_own_look_comes_first() -> None:
    own = points().configure_axis(titleColor="#123456").properties(width=111)
    svg = str(to_svg(Figure(own, "Points."), name="one"))
    assert "#123456" in svg
    assert "h111" in svg
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_ids_of_two_charts_differ() -> None:
    clipped = alt.Chart(POINTS).mark_line(clip=True).encode(x="x:Q", y="y:Q", color="y:Q")
    found = [
        {element.get("id") for element in ET.fromstring(to_svg(figure, name=name)).iter()} - {None}
        for name in ("one", "two")
        for figure in [Figure(clipped, "Lines.")]
    ]
    assert len(found[0]) > 1
    assert found[0].isdisjoint(found[1])
    svg = str(to_svg(Figure(clipped, "Lines."), name="one"))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= found[0]


def test_links_and_addresses_are_dropped() -> None:
    data = POINTS.with_columns(link=pl.lit("https://example.org"))
    linked = alt.Chart(data).mark_point().encode(x="x:Q", y="y:Q", href="link:N")
    assert "example.org" not in str(to_svg(Figure(linked, "Points."), name="one"))


def test_a_chart_after_one_that_fails_is_drawn() -> None:
    data = POINTS.with_columns(link=pl.lit("javascript:alert(1)"))
    refused = alt.Chart(data).mark_point().encode(x="x:Q", y="y:Q", href="link:N")
    with pytest.raises(PluginError):
        to_svg(Figure(refused, "Points."), name="one")
    assert "<path" in str(to_svg(Figure(points(), "Points."), name="one"))


def test_more_rows_than_altair_s_limit_are_drawn() -> None:
    many = pl.DataFrame({"x": range(5001)})
    chart = alt.Chart(many).mark_bar().encode(x=alt.X("x:Q", bin=True), y="count()")
    assert "<path" in str(to_svg(Figure(chart, "Many."), name="one"))


def test_a_chart_that_needs_a_network_is_refused() -> None:
    remote = alt.Chart("https://example.org/data.csv").mark_point().encode(x="x:Q")
    with pytest.raises(PluginError, match=r"'Far away\.'"):
        to_svg(Figure(remote, "Far away."), name="one")
