from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from auditkit_leakage import LeakageAudit
from auditkit_leakage.altering import planted
from auditkit_leakage.content import content_of

import auditkit
from auditkit import errors, testing
from auditkit.demo import digits

LEAKS = 40
CLEAN = 160


@pytest.fixture(scope="module")
def subject() -> auditkit.Subject:
    """Digits, some of the training images among the queries, as they are or a little brighter."""
    whole = digits(examples=1_000, epochs=15, share=0.0).subject
    train = whole.train.subset(np.arange(800))
    images = np.stack([np.asarray(whole.train[place][0]) for place in range(1_000)])  # type: ignore[index]
    labels = np.array([int(whole.train[place][1]) for place in range(1_000)])  # type: ignore[index]
    leaked = images[:LEAKS].copy()
    leaked[LEAKS // 2 :] *= 0.9
    queries = auditkit.Pool.from_arrays(
        np.concatenate([images[800 : 800 + CLEAN], leaked]),
        np.concatenate([labels[800 : 800 + CLEAN], labels[:LEAKS]]),
        ids=[f"clean-{place}" for place in range(CLEAN)] + [f"leak-{n}" for n in range(LEAKS)],
    )
    return replace(whole, train=train, queries=queries)


@pytest.fixture(scope="module")
def run(subject: auditkit.Subject, tmp_path_factory: pytest.TempPathFactory) -> auditkit.Run:
    return auditkit.run(LeakageAudit, subject, out=tmp_path_factory.mktemp("runs"))


def test_the_audit_fits_in() -> None:
    testing.check_audit(LeakageAudit)


def test_the_audit_fits_in_without_a_model() -> None:
    whole = testing.tiny_subject(examples=120, queries=40, epochs=1)
    testing.check_audit(LeakageAudit, subject=replace(whole, task=None))


def test_leaks_are_found_with_their_originals(run: auditkit.Run, subject: auditkit.Subject) -> None:
    frame = run.findings.frame
    assert sorted(frame["example_id"]) == sorted(subject.queries.ids)  # type: ignore[union-attr]
    flagged = run.findings.flagged
    leaks = flagged.filter(pl.col("example_id").str.starts_with("leak"))
    assert leaks.height > 0.9 * LEAKS
    assert leaks.height > 0.9 * flagged.height
    for found, other in leaks.select("example_id", "other_id").iter_rows():
        assert found == f"leak-{other}"
    identical = frame.filter("identical")
    assert identical.height == LEAKS // 2
    assert (identical["probability"] == 1).all()
    assert run.record.rate == pytest.approx(LEAKS / (LEAKS + CLEAN), rel=0.2)


def test_the_number_has_an_interval(run: auditkit.Run) -> None:
    summary = run.record.summary
    low, high = summary["estimated leaked, lowest"], summary["estimated leaked, highest"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < LEAKS < high


def test_the_model_treats_exact_copies_as_the_same(run: auditkit.Run) -> None:
    identical = run.findings.frame.filter("identical")
    assert (identical["influence_rank"] == 1).mean() >= 0.95
    assert (identical["influence_percentile"] > 0.99).mean() >= 0.95
    assert identical["margin_carried"].is_not_null().all()


def test_the_metric_is_compared_with_and_without(run: auditkit.Run) -> None:
    row = run.result.tables["metric"].row(0, named=True)
    frame = run.findings.frame
    clean = frame.filter(~pl.col("flagged"))
    assert row["on all"] == pytest.approx(frame["correct"].mean())
    assert row["on clean only"] == pytest.approx(clean["correct"].mean())
    assert row["lowest"] <= row["difference"] <= row["highest"]
    assert f"{row['on all']:.1%}" in run.record.answer


def test_all_pairs_are_stored_with_probabilities(run: auditkit.Run) -> None:
    pairs = run.result.tables["pairs"]
    assert (run.path / "tables" / "pairs.parquet").is_file()
    assert pairs["probability"].is_between(0, 1).all()
    best = pairs.filter("best")
    assert sorted(best["example_id"]) == sorted(run.findings.frame["example_id"])
    assert pairs.height > best.height


def test_false_discovery_rates_rise_with_the_rank(run: auditkit.Run) -> None:
    rates = run.findings.frame["false_discovery_rate"].to_numpy()
    assert (np.diff(rates) >= -1e-12).all()
    assert rates[-1] == pytest.approx(1 - run.record.rate)


def test_planted_copies_say_how_well_each_kind_is_found(run: auditkit.Run) -> None:
    recovery = run.result.tables["recovery"]
    assert {"identical", "flip", "noise"} <= set(recovery["kind"])
    assert recovery["planted"].sum() == 400
    assert recovery.filter(pl.col("kind") == "identical")["found"][0] == 1


def test_the_whole_pool_is_asked_where_wanted(subject: auditkit.Subject, tmp_path: Path) -> None:
    assert subject.queries is not None
    few = replace(subject, queries=subject.queries.subset(np.arange(CLEAN - 10, CLEAN + 10)))
    run = auditkit.run(LeakageAudit, few, out=tmp_path, settings={"whole": True})
    frame = run.findings.frame
    assert frame["influence_rank"].is_not_null().all()
    leaks = frame.filter("identical")
    assert leaks.height == 10
    assert (leaks["most_influential_id"] == leaks["other_id"]).all()


def test_without_labels_margins_are_of_the_predicted_class(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    assert subject.queries is not None
    images = np.stack([np.asarray(subject.queries[place][0]) for place in range(200)])  # type: ignore[index]
    bare = auditkit.Pool.from_arrays(images, ids=subject.queries.ids)
    run = auditkit.run(LeakageAudit, replace(subject, queries=bare), out=tmp_path)
    assert any("has no labels" in note.text for note in run.record.notes)
    assert run.result.tables["metric"].height == 0
    frame = run.findings.frame
    assert (frame["margin"] > -np.log(9)).all()  # the largest of ten probabilities
    right = frame.filter(pl.col("identical") & (pl.col("predicted") == pl.col("other_label")))
    assert right.height >= 10
    assert (right["influence_rank"] == 1).mean() >= 0.95
    assert "label" not in frame.columns


def test_the_train_pool_alone_is_searched_for_duplicates(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    rows = [subject.train[place % 150] for place in range(160)]
    images = np.stack([np.asarray(image) for image, _ in rows])  # type: ignore[misc]
    labels = np.array([int(label) for _, label in rows])  # type: ignore[misc]
    labels[155:] = (labels[155:] + 1) % 10
    pool = auditkit.Pool.from_arrays(images, labels)
    alone = replace(subject, task=None, train=pool, queries=None)
    run = auditkit.run(LeakageAudit, alone, out=tmp_path / "alone")
    assert run.findings.frame.filter("identical").height == 20
    assert run.record.answer.startswith("About 20 of 160 training examples")
    table = run.result.tables["duplicates"]
    assert table["cluster"].n_unique() == 10
    twice = auditkit.Pool.from_arrays(images, labels)
    same = auditkit.run(LeakageAudit, replace(alone, queries=twice), out=tmp_path / "same")
    assert any("is the train pool itself" in note.text for note in same.record.notes)
    assert same.findings.frame.equals(run.findings.frame)


def test_labels_that_contradict_each_other_are_named(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    rows = [subject.train[place % 150] for place in range(160)]
    images = np.stack([np.asarray(image) for image, _ in rows])  # type: ignore[misc]
    labels = np.array([int(label) for _, label in rows])  # type: ignore[misc]
    labels[155:] = (labels[155:] + 1) % 10
    names = pl.DataFrame({"digit": [str(label) for label in labels]})
    pool = auditkit.Pool.from_arrays(images, labels, metadata=names, label="digit")
    run = auditkit.run(LeakageAudit, auditkit.Subject(train=pool), out=tmp_path)
    table = run.result.tables["duplicates"]
    assert table.filter("conflicting")["cluster"].n_unique() == 5
    assert run.record.summary["clusters with conflicting labels"] == 5
    assert "In 5 of them" in run.report.read_text(encoding="utf-8")


def test_a_regression_is_judged_by_its_squared_error(tmp_path: Path) -> None:
    subject = testing.tiny_subject(examples=200, queries=60, likelihood="gaussian", epochs=3)
    assert subject.queries is not None
    joined = subject.train.subset(np.arange(10)).joined(subject.queries)
    run = auditkit.run(LeakageAudit, replace(subject, queries=joined), out=tmp_path)
    assert run.result.tables["metric"]["metric"].to_list() == ["mean squared error"]
    assert run.findings.frame.filter("identical").height >= 10
    assert "squared_error" in run.findings.frame.columns


def test_coincidences_of_small_rows_are_not_called_leaks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def pool(count: int) -> auditkit.Pool:
        frame = pl.DataFrame({name: random.integers(0, 3, count) for name in "abc"})
        rows = [{name: str(cell) for name, cell in row.items()} for row in frame.to_dicts()]
        return auditkit.Pool(rows, metadata=frame, contents=("a", "b", "c"))

    run = auditkit.run(
        LeakageAudit, auditkit.Subject(train=pool(300), queries=pool(100)), out=tmp_path
    )
    assert run.findings.frame["identical"].mean() > 0.9
    assert run.record.rate < 0.1
    assert any("happens by chance" in note.text for note in run.record.notes)


def test_texts_are_compared_without_a_model(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = [f"word{number}" for number in range(2_000)]
    texts = [" ".join(random.choice(words, 40)) for _ in range(300)]
    train = auditkit.Pool(texts[:250])
    copies, kinds = planted(content_of(train), np.arange(20), seed=1)
    queries = auditkit.Pool([*texts[250:], *copies.strings])
    run = auditkit.run(LeakageAudit, auditkit.Subject(train=train, queries=queries), out=tmp_path)
    flagged = set(run.findings.flagged["example_id"])
    assert flagged == {str(place) for place in range(50, 70)}
    assert len(kinds) == 20
    assert run.result.tables["marks"].height > 0
    assert "mark" in run.report.read_text(encoding="utf-8")


def test_pools_that_cannot_share_examples_are_refused(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    texts = auditkit.Subject(train=auditkit.Pool(["a", "b"]), queries=subject.queries)
    with pytest.raises(errors.UsageError, match="training examples are texts and the evaluation"):
        auditkit.run(LeakageAudit, texts, out=tmp_path)
    small = auditkit.Pool.from_arrays(np.zeros((4, 6, 6), np.uint8))
    with pytest.raises(errors.UsageError, match="6 by 6 pixels"):
        auditkit.run(LeakageAudit, replace(subject, queries=small), out=tmp_path)
    one = replace(subject, task=None, train=subject.train.subset([0]))
    with pytest.raises(errors.PoolError, match="holds 1 example"):
        auditkit.run(LeakageAudit, one, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_train_pool_is_judged_by_identity_alone(tmp_path: Path) -> None:
    train = auditkit.Pool(["an odd sentence about foxes and hens", "another one about rain"])
    queries = auditkit.Pool(["something else", "An odd sentence about foxes and hens"])
    run = auditkit.run(LeakageAudit, auditkit.Subject(train=train, queries=queries), out=tmp_path)
    frame = run.findings.frame
    assert frame["example_id"].to_list() == ["1", "0"]
    assert frame["probability"].to_list() == [None, None]
    assert run.record.rate == 0


def test_copies_are_nearest_in_the_features_of_the_model(run: auditkit.Run) -> None:
    identical = run.findings.frame.filter("identical")
    assert (identical["feature_rank"] == 1).all()
    assert "nearest of all" in run.report.read_text(encoding="utf-8")


def test_a_model_without_a_linear_layer_has_no_features_to_compare(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    bare = replace(subject, task=auditkit.ClassificationTask(model))
    found = auditkit.run(LeakageAudit, bare, out=tmp_path)
    assert "feature_rank" not in found.findings.frame.columns
    assert any("features were not compared" in note.text for note in found.record.notes)


def test_within_one_pool_an_example_is_no_copy_of_itself(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    images = np.stack([np.asarray(subject.train[place % 150][0]) for place in range(160)])  # type: ignore[index]
    labels = np.array([int(subject.train[place % 150][1]) for place in range(160)])  # type: ignore[index]
    alone = replace(subject, train=auditkit.Pool.from_arrays(images, labels), queries=None)
    frame = auditkit.run(LeakageAudit, alone, out=tmp_path).findings.frame
    twins = frame.filter("identical")
    assert twins.height == 20
    assert (twins["influence_rank"] == 1).mean() >= 0.9
    assert (twins["feature_rank"] == 1).all()
