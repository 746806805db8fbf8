from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auditkit import Findings, Pool, Section
from auditkit.errors import PluginError, StoreError
from auditkit.preview import ImagePreview
from auditkit.report.previews import preview_frame
from auditkit.report.render import MAX_BYTES, render, to_html
from auditkit.store import Run


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._skipping = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._skipping = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skipping = False

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.texts.append(data)

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def rows(self) -> int:
        return sum("data-record" in attributes for attributes in self.named("tr"))


@pytest.fixture(scope="module")
def html(run: Run, sections: Sequence[Section]) -> str:
    return to_html(run, sections)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_report_is_written_into_the_run_s_folder_and_nothing_else(
    run: Run, sections: Sequence[Section], html: str
) -> None:
    before = {path.name for path in run.path.iterdir()} - {"report.html"}
    assert render(run, sections) == run.report
    assert run.report.read_bytes() == html.encode()
    assert {path.name for path in run.path.iterdir()} == before | {"report.html"}


def test_the_report_says_what_the_run_found(run: Run, page: Page) -> None:
    record = run.record
    expected = [
        record.title, record.question, record.answer, record.subject.name, record.subject.weights,
        record.subject.data, "Self-check passed", "94% found themselves first among 512",
        *(note.text for note in record.notes), *record.versions.values(), "512 MB",
        "How far to review", "Where the line bends, review stops paying.",
        "auditkit.run( 'mislabel', subject, settings={'folds': 5",
    ]  # fmt: skip
    for text in expected:
        assert " ".join(text.split()) in page.text
    assert page.text.index("Warning") < page.text.index("Self-check") < page.text.index("Note ")


def test_what_is_capped_is_said(page: Page, run: Run) -> None:
    assert page.rows == 200
    assert "The 200 worst of 300 judged are shown; all are in findings.parquet" in page.text
    every = replace(run, record=run.record.model_copy(update={"top": 1000}))
    assert "All 300 rows of the findings are shown." in Page(to_html(every)).text


def test_hostile_texts_are_shown_and_do_nothing(page: Page, hostile: Sequence[str]) -> None:
    for text in hostile:
        assert " ".join(text.split()) in page.text
    assert sum(1 for _ in page.named("script")) == 2
    assert not list(page.named("b"))
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_page_names_no_address_but_its_own_parts(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    links = {value["href"] for value in page.named("a")}
    ids = {f"#{attributes['id']}" for _, attributes in page.elements if "id" in attributes}
    assert links <= ids


def test_ids_are_unique_and_labels_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("for", "aria-labelledby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)


def test_the_same_run_gives_the_same_bytes(
    run: Run, sections: Sequence[Section], html: str
) -> None:
    assert to_html(run, sections) == html


def test_a_command_is_shown_where_there_was_one(run: Run) -> None:
    line = "auditkit mislabel 'data & more.csv' --label <x>"
    told = replace(run, record=run.record.model_copy(update={"command": line}))
    text = Page(to_html(told)).text
    assert line in text
    assert "auditkit.run(" not in text


def test_a_failed_self_check_warns(run: Run) -> None:
    assert run.record.self_check is not None
    failed = run.record.self_check.model_copy(update={"top1": 0.1})
    told = replace(run, record=run.record.model_copy(update={"self_check": failed}))
    page = Page(to_html(told))
    assert "Self-check failed" in page.text
    assert [one["class"] for one in page.named("li") if one.get("id") == "self-check"] == [
        "note warning"
    ]


def test_two_hundred_photographs_stay_below_two_megabytes(
    make_run: Callable[..., Run], run: Run, sections: Sequence[Section]
) -> None:
    places = np.linspace(0, 12, 96)
    waves = np.stack([np.outer(np.sin(places + k), np.cos(places * k)) for k in (1, 2, 3)], -1)
    grain = np.random.default_rng(0).normal(0, 12, (96, 96, 3))
    pixels = (waves * 80 + 128 + grain).clip(0, 255).astype(np.uint8)
    pool = Pool(range(200), preview=lambda place: ImagePreview(np.roll(pixels, place, axis=1)))
    found = replace(run.result, findings=Findings.ranked(pool.ids, np.arange(200.0)))
    photos = make_run(found, run.record, preview_frame(pool, pool.ids))
    assert render(photos, sections).stat().st_size < MAX_BYTES
    assert Page(photos.report.read_text(encoding="utf-8")).rows == 200


def test_rows_give_way_where_the_file_would_grow_too_large(run: Run) -> None:
    whole = to_html(run)
    limit = len(whole.encode()) - 60_000
    page = Page(cut := to_html(run, max_bytes=limit))
    assert 0.9 * limit < len(cut.encode()) <= limit
    assert 0 < page.rows < 200
    assert f"The {page.rows} worst of 300 judged are shown, so that this file stays" in page.text


def test_findings_without_rows_or_probabilities_are_shown(
    make_run: Callable[..., Run], run: Run
) -> None:
    none = Findings.ranked([], np.array([]))
    page = Page(to_html(make_run(replace(run.result, findings=none), run.record)))
    assert page.rows == 0
    assert "Probability" not in page.text


def test_a_plugin_s_templates_extend_the_core_s(
    run: Run, sections: Sequence[Section], tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text(
        "{% extends 'auditkit/report.html' %}"
        "{% block headline %}{{ super() }}<p>{{ report.answer }} Truly.</p>{% endblock %}"
    )
    (tmp_path / "own.html").write_text("<p>Own: {{ section.title }}</p>")
    own = replace(sections[1], title="<Mine>", template="mislabel/own.html", figures=())
    text = Page(to_html(run, [own], template_folders={"mislabel": tmp_path})).text
    assert f"{run.record.answer} Truly." in text
    assert "Own: <Mine>" in text
    assert re.search("Wrong labels.*Own:", text)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ report.titel }}", "titel"),
        ("{{ nothing }}", "nothing"),
        ("{% if %}", "report.html"),
        ("{% include 'mislabel/none.html' %}", "none.html"),
    ],
)
def test_a_template_that_fails_is_named(run: Run, tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "report.html").write_text(source)
    with pytest.raises(PluginError, match=f"mislabel audit cannot be rendered.*{reason}"):
        to_html(run, template_folders={"mislabel": tmp_path})


def test_a_section_s_missing_template_is_named(run: Run) -> None:
    with pytest.raises(PluginError, match=r"mislabel/gone\.html"):
        to_html(run, [Section("Gone", template="mislabel/gone.html")])


def test_columns_of_other_types_are_shown(make_run: Callable[..., Run], run: Run) -> None:
    ids = ["digits/0010.png", "digits/0011.png"]
    frame = Findings.ranked(ids, np.array([2.0, 1.0])).frame.with_columns(
        seen=pl.Series([date(2026, 1, 2), None]), sure=pl.Series([True, None])
    )
    found = replace(run.result, findings=Findings(frame))
    assert "2026-01-02 yes" in Page(to_html(make_run(found, run.record))).text


def test_previews_that_cannot_be_read_are_named(make_run: Callable[..., Run], run: Run) -> None:
    broken = run.previews.with_columns(
        image=pl.when(pl.col("image").is_not_null()).then(pl.lit(b"no image"))
    )
    with pytest.raises(StoreError, match="cannot be read"):
        to_html(make_run(run.result, run.record, broken))
