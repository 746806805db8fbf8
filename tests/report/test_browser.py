"""A report in a real Chromium, without a network."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from auditkit import Section
from auditkit.report.render import render
from auditkit.store import Run

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--proxy-server=127.0.0.1:9",  # whatever would leave meets a closed door
]


@dataclass
class Seen:
    """What the page did beside showing itself."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser(require_chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=require_chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(run: Run, sections: Sequence[Section]) -> Path:
    return render(run, sections)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(offline=True, accept_downloads=True)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, report: Path, seen: Seen) -> Page:
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.on("request", lambda request: seen.requests.append(request.url))
    opened.on("console", lambda message: seen.complaints.append(message.text))
    opened.on("pageerror", lambda error: seen.complaints.append(str(error)))
    opened.add_init_script(
        "window.violations = []; addEventListener('securitypolicyviolation',"
        "event => violations.push(event.violatedDirective))"
    )
    opened.goto(report.as_uri())
    return opened


def column(page: Page, label: str) -> list[str]:
    return page.locator(f"#findings-table tbody td[data-label='{label}']").all_inner_texts()


def head(page: Page, title: str) -> None:
    """Sort by a column; the table is drawn again a moment after the click."""
    cell = page.locator("#findings-table thead th").filter(has_text=title).first
    before = cell.get_attribute("aria-sort")
    cell.click()
    after = "descending" if before == "ascending" else "ascending"
    expect(cell).to_have_attribute("aria-sort", after)


def test_nothing_leaves_and_nothing_complains(page: Page, seen: Seen, report: Path) -> None:
    head(page, "Score")
    page.get_by_label("Search").fill("ship")
    asked = [url for url in seen.requests if not url.startswith("data:")]
    assert asked == [report.as_uri()]
    assert seen.complaints == []
    assert page.evaluate("violations") == []
    assert "owned" in page.title()
    assert page.title() != "owned"


def test_the_policy_holds_against_markup_that_got_in(page: Page) -> None:
    page.evaluate("""async () => {
        const at = document.createElement("div");
        at.innerHTML = '<img src="https://example.org/x.png" onerror="document.title=1">';
        document.body.append(at);
        const script = document.createElement("script");
        script.textContent = "document.title = 2";
        document.body.append(script);
        await new Promise((done) => setTimeout(done, 200));
    }""")
    assert set(page.evaluate("violations")) >= {"img-src", "script-src-elem", "script-src-attr"}
    assert page.title() not in ("1", "2")


def test_it_sorts_by_numbers_in_both_directions(page: Page) -> None:
    assert column(page, "Rank") == [str(place) for place in range(1, 26)]
    head(page, "Training loss")
    rising = [float(text) for text in column(page, "Training loss")]
    assert rising == sorted(rising)
    head(page, "Training loss")
    falling = [float(text) for text in column(page, "Training loss")]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[-1]


def test_it_sorts_by_keyboard_alone(page: Page) -> None:
    page.locator("#findings-table thead th").filter(has_text="Rank").get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert column(page, "Rank")[:2] == ["200", "199"]


def test_it_searches_ids_texts_and_cells(page: Page, hostile: Sequence[str]) -> None:
    page.get_by_label("Search").fill("digits/0123")
    assert column(page, "Id") == ["digits/0123.png", "digits/0124.png"]  # paired with the first
    page.get_by_label("Search").fill("<img src=x")
    assert hostile[2] in column(page, "Id")
    page.get_by_label("Search").fill("there is no such text")
    expect(page.get_by_text("No row matches.")).to_be_visible()


def test_it_filters_and_filters_are_cleared(page: Page) -> None:
    page.get_by_label("Rows", exact=True).select_option("all")
    page.get_by_label("Show", exact=True).select_option("not flagged")
    assert set(column(page, "Flagged")) == {"no"}
    page.get_by_label("Show", exact=True).select_option("flagged")
    page.get_by_label("Given label", exact=True).select_option("4")
    assert set(column(page, "Given label")) == {"4"}
    assert set(column(page, "Flagged")) == {"flagged"}
    page.get_by_label("Probability from").fill("0.9")
    assert min(float(text.strip("> ")) for text in column(page, "Probability")) >= 0.9
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_text("Rows 1 to 25 of 200")).to_be_visible()


def test_decisions_outlive_sorting_and_paging_and_are_exported(
    page: Page, hostile: Sequence[str], tmp_path: Path
) -> None:
    made = {0: "fix", 7: "drop", 9: "keep"}
    for place, decision in made.items():
        page.get_by_label("Decision on").nth(place).select_option(decision)
    head(page, "Training loss")
    page.get_by_label("Show", exact=True).select_option("without decision")
    expect(page.get_by_text("Rows 1 to 25 of 197")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("button", name="Export decisions (3)").click()
    download = started.value
    assert download.suggested_filename == "decisions-mislabel-3fa9c1.csv"
    download.save_as(tmp_path / "decisions.csv")
    content = (tmp_path / "decisions.csv").read_bytes().decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert {row["decision"] for row in rows} == set(made.values())
    read = {row["example_id"].removeprefix("'"): row["decision"] for row in rows}
    assert read == {hostile[place]: decision for place, decision in made.items()}
    assert [row["suggested_label"] for row in rows if row["decision"] == "fix"] == ["1"]
    assert not [row for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@")]
    assert "'=HYPERLINK" in content
    assert "''leading" in content


def test_every_row_is_printed(page: Page) -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert len(column(page, "Rank")) == 200
    expect(page.locator("#controls")).to_be_hidden()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert len(column(page, "Rank")) == 25


@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_width_of_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_it_is_readable_in_both_modes(page: Page) -> None:
    looks = []
    for mode in ("light", "dark"):
        page.emulate_media(color_scheme="light" if mode == "light" else "dark")
        looks.append(
            page.evaluate("""() => {
                const channels = (colour) => colour.match(/\\d+/g).slice(0, 3).map(Number);
                const light = (colour) => channels(colour).reduce((a, b) => a + b);
                const body = getComputedStyle(document.body);
                const label = getComputedStyle(document.querySelector(".chart svg text"));
                return [body.backgroundColor, body.color, label.fill].map(light);
            }""")
        )
    (paper, ink, label), (night, moon, glow) = looks
    assert paper - max(ink, label) > 300
    assert min(moon, glow) - night > 300


def test_without_scripts_the_whole_table_is_there(browser: Browser, report: Path) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#findings-table tbody tr").count() == 200
    assert page.locator("#controls").is_hidden()
    assert page.get_by_text("Scripts are off").is_visible()
    context.close()
