from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import polars as pl
import pytest
from auditkit_mirror import MirrorAudit
from playwright.sync_api import sync_playwright

import auditkit
from auditkit import errors, testing
from auditkit.cli import main
from auditkit.subject import Subject

SUBJECTS = """
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import auditkit
from auditkit.testing import tiny_subject


def good():
    whole = tiny_subject(examples=150, queries=30, epochs=3)
    return replace(whole, recipe=replace(whole.recipe, epochs=1))


def long():
    whole = good()
    return replace(whole, recipe=replace(whole.recipe, epochs=1_000_000))


def with_pool(pick):
    whole = good()
    return replace(whole, train=pick(whole.train), queries=None)


def one_class():
    return with_pool(lambda pool: pool.subset([i for i in range(150) if pool[i][1] == 1] * 5))


def images(pool):
    return np.stack([pool[i][0] for i in range(150)]), np.array([pool[i][1] for i in range(150)])


def alone():
    def pick(pool):
        pixels, labels = images(pool)
        return auditkit.Pool.from_arrays(pixels, np.ones_like(labels))
    return with_pool(pick)


def few():
    return with_pool(lambda pool: pool.subset(range(20)))


def not_finite():
    def pick(pool):
        pixels, labels = images(pool)
        pixels[3] = np.nan
        return auditkit.Pool.from_arrays(pixels, labels)
    return with_pool(pick)


class Clipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = self.first(x.flatten(1))
        return torch.nan_to_num(self.head(torch.where(x > 0, torch.inf, x)), 0.0, 0.0, 0.0)


def endless_features():
    whole = good()
    return replace(whole, task=auditkit.ClassificationTask(Clipped()), queries=None)


class Own(auditkit.Task):
    def loss(self, model, batch):
        return (model(batch[0]).mean(dim=1) - batch[1]).abs()


def no_outputs():
    whole = good()
    return replace(whole, task=Own(whole.task.model), queries=None)
"""

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`auditkit mirror` on a subject of `SUBJECTS`, in this process."""
    (tmp_path / "subjects.py").write_text(SUBJECTS)

    def call(name: str, *options: str) -> CompletedProcess[str]:
        out = ["--out", str(tmp_path / "runs")]
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["mirror", f"{tmp_path / 'subjects.py'}:{name}", *out, *options])
        said = capfd.readouterr()
        return CompletedProcess(name, int(caught.value.code or 0), said.out, said.err)

    return call


def quick(subject: Subject) -> Subject:
    return replace(subject, recipe=replace(subject.recipe, epochs=1))


@pytest.fixture(scope="module")
def subject() -> Subject:
    return quick(testing.tiny_subject(examples=150, queries=30, epochs=3))


@pytest.fixture(scope="module")
def run(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> auditkit.Run:
    """A run that had the budget for everything."""
    return auditkit.run(
        MirrorAudit, subject, out=tmp_path_factory.mktemp("runs"), settings={"queries": 3}
    )


def test_the_audit_fits_in() -> None:
    subject = replace(quick(testing.tiny_subject(examples=60, epochs=3)), queries=None)
    testing.check_audit(MirrorAudit, subject=subject)


def test_the_verdict_is_that_of_the_correlations(run: auditkit.Run) -> None:
    found = run.result.tables["correlations"]
    linear, groups = found.row(1, named=True), found.row(-1, named=True)
    assert "does not strengthen the regularizer" in linear["setting"]
    assert linear["from"] <= linear["Pearson"] <= linear["to"]
    assert f"correlation is {linear['Pearson']:.2f} over 3 queries" in run.record.answer
    assert f"and {groups['Pearson']:.2f} over 30 groups" in run.record.answer
    worst = min(linear["Pearson"], groups["Pearson"])
    assert run.record.rate == pytest.approx(1 - worst)
    assert ("agree here" in run.record.answer) == (worst >= 0.9)


def test_formulas_agree_with_themselves_and_with_leaving_out(run: auditkit.Run) -> None:
    found = {row["setting"]: row for row in run.result.tables["correlations"].iter_rows(named=True)}
    assert found["TracIn, both directions"]["Pearson"] > 0.99999
    assert found["influence functions, both directions"]["Pearson"] > 0.98
    assert found["influence function against leaving out"]["Spearman"] > 0.9


def test_every_training_example_of_the_linear_model_has_a_row(
    run: auditkit.Run, subject: Subject
) -> None:
    frame = run.findings.frame
    assert sorted(frame["example_id"]) == sorted(subject.train.ids)
    assert frame["probability"].null_count() == 150
    flagged = frame.filter(pl.col("flagged"))
    assert (flagged["influence"] >= 1).all()


def test_settings_are_judged_on_both_and_the_choice_is_one_of_them(run: auditkit.Run) -> None:
    settings = run.result.tables["settings"]
    assert set(settings["judged on"]) == {"linear model", "groups"}
    on_groups = settings.filter((pl.col("judged on") == "groups") & pl.col("engine"))
    assert run.record.summary["best engine setting"] in on_groups["setting"].to_list()


def test_nothing_unfinished_stays(run: auditkit.Run) -> None:
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_a_report_says_all_of_it(run: auditkit.Run) -> None:
    titles = [section.title for section in MirrorAudit().sections(run.result)]
    assert titles == [
        "One example, one query",
        "Groups of examples, the model retrained",
        "How many queries at once",
        "Which engine settings this supports",
        "What it would take to know more",
    ]


def test_the_report_fits_a_desk_and_a_telephone(run: auditkit.Run, require_chromium: str) -> None:
    flags = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_chromium, args=flags)
        page = browser.new_context(offline=True).new_page()
        page.goto(run.report.as_uri())
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".chart svg").count() == 5
        assert "undefined" not in page.locator("main").inner_text()
        browser.close()


def test_regression_has_a_mirror_too(tmp_path: Path) -> None:
    whole = testing.tiny_subject(examples=60, queries=20, likelihood="gaussian", epochs=5)
    subject = replace(whole, recipe=replace(whole.recipe, epochs=1_000_000))
    run = auditkit.run(MirrorAudit, subject, out=tmp_path, settings={"queries": 2})
    found = run.result.tables["correlations"]
    assert found["Pearson"][0] > 0.9
    assert run.record.summary["Newton steps of a retraining"] == 0


def test_what_the_budget_does_not_allow_is_said_and_priced(command: Command) -> None:
    outcome = command("long", "--queries", "2", "--fail-on", "0")
    assert outcome.returncode == 1
    estimate = outcome.stderr.splitlines()[0]
    assert estimate.startswith("Estimate: about 1")
    assert estimate.endswith("retraining the whole model without groups of examples is left out.")
    assert "the model itself was not retrained." in outcome.stdout
    assert "that takes a budget of about" in outcome.stderr
    assert "is at least 0 (--fail-on)" in outcome.stderr


@pytest.mark.parametrize(
    ("name", "options", "code", "said"),
    [
        ("good", ["--budget", "0.001"], 3, "A budget of 0.001 minutes is too small"),
        ("good", ["--budget", "0"], 2, "The setting 'budget' of the mirror audit is 0.0"),
        ("alone", [], 3, "All 150 training examples are of class 1"),
        ("few", [], 3, "The train pool has 20 examples"),
        ("not_finite", [], 3, "is nan"),
        ("endless_features", [], 3, "are not finite"),
        ("no_outputs", [], 3, "needs a task with outputs"),
    ],
)
def test_what_cannot_be_audited_is_one_sentence(
    command: Command, tmp_path: Path, name: str, options: list[str], code: int, said: str
) -> None:
    outcome = command(name, "-q", *options)
    assert outcome.returncode == code
    assert said in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""
    assert not list((tmp_path / "runs").glob("*/report.html"))


def test_a_run_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, subject: Subject, run: auditkit.Run
) -> None:
    (tmp_path / "subjects.py").write_text(SUBJECTS)
    out = tmp_path / "runs"
    line = [sys.executable, "-m", "auditkit", "mirror", f"{tmp_path / 'subjects.py'}:good"]
    # Sums in one order, as in this process: the weights must be the same to the bit.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [*line, "--queries", "3", "--out", str(out)], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list(out.glob(".mirror-*/network/groups/*.npy")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (work,) = out.glob(".mirror-*")
    block = work / "convex" / "rows-000064.npy"
    kept = np.load(block)
    np.save(block, np.zeros_like(kept))
    resumed = auditkit.run(MirrorAudit, subject, out=out, settings={"queries": 3})
    whole, again = (
        dict(each.findings.frame.select("example_id", "train_to_test").iter_rows())
        for each in (run, resumed)
    )
    ids = subject.train.ids
    assert [again[name] for name in ids[64:128]] == [0.0] * 64  # what was there was taken as it is
    before = [whole[name] for name in ids[:64]]  # linear algebra may use other threads here
    assert [again[name] for name in ids[:64]] == pytest.approx(before, rel=1e-9)
    groups = [each.result.tables["groups"] for each in (run, resumed)]
    assert groups[0].equals(groups[1])
    assert not work.exists()


def test_a_subject_without_a_linear_layer_is_refused(tmp_path: Path) -> None:
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    whole = testing.tiny_subject(examples=60, epochs=1)
    subject = replace(whole, task=auditkit.ClassificationTask(model))
    with pytest.raises(errors.TaskError, match=r"no torch.nn.Linear layer"):
        auditkit.run(MirrorAudit, subject, out=tmp_path)
