from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_memorization.confirm_section import ACCURACY, LOSS, Measured, left_out

import auditkit

NOTHING = "No clear difference from leaving out random ones."


def result(measured: Measured, difference: float, low: float, high: float) -> auditkit.AuditResult:
    names = ["everything", "without the most memorized", "without as many at random"]
    levels = {"trained on": names, measured.column: [0.9, 0.7, 0.8], "low": [0.6] * 3}
    return auditkit.AuditResult(
        findings=auditkit.Findings.ranked(["a"], np.zeros(1)),
        answer="",
        rate=0.0,
        summary={"left out to confirm": 1_200, "confirmed on": "the 90 evaluation examples"},
        tables={
            measured.table: pl.DataFrame({**levels, "high": [1.0] * 3}),
            "differences": pl.DataFrame(
                {"comparison": ["a", "b", "c"], "difference": [0.0, 0.0, difference],
                 "low": [0.0, 0.0, low], "high": [0.0, 0.0, high]}
            ),
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "interval", "told", "verdict"),
    [
        (ACCURACY, (-0.05, -0.08, -0.02), "accuracy changes by -5.0 points", ACCURACY.needed),
        (ACCURACY, (0.05, 0.02, 0.08), "(95 % interval +2.0 to +8.0)", ACCURACY.harmful),
        (ACCURACY, (-0.01, -0.08, 0.02), "accuracy changes by -1.0 points", NOTHING),
        (LOSS, (0.3, 0.1, 0.5), "the loss per token changes by +0.300 nats", LOSS.needed),
        (LOSS, (-0.3, -0.5, -0.1), "(95 % interval -0.500 to -0.100)", LOSS.harmful),
        (LOSS, (0.0, -0.1, 0.1), "the loss per token changes by +0.000 nats", NOTHING),
    ],
)
def test_the_verdict_says_whether_the_memorized_ones_are_needed(
    measured: Measured, interval: tuple[float, float, float], told: str, verdict: str
) -> None:
    [text] = left_out(result(measured, *interval), measured).paragraphs
    assert "without the 1,200 most memorized" in text
    assert told in text
    assert text.endswith(verdict)
    others = {ACCURACY.needed, ACCURACY.harmful, LOSS.needed, LOSS.harmful, NOTHING} - {verdict}
    assert not any(other in text for other in others)


@pytest.mark.parametrize("measured", [ACCURACY, LOSS])
def test_the_chart_shows_each_level_with_its_interval(measured: Measured) -> None:
    [figure] = left_out(result(measured, 0.0, 0.0, 0.0), measured).figures
    rule, point = figure.chart.to_dict()["layer"]
    assert (rule["encoding"]["x"]["field"], rule["encoding"]["x2"]["field"]) == ("low", "high")
    assert point["encoding"]["x"]["field"] == measured.column
    assert figure.caption.startswith(f"Mean {measured.column} and its 95 % interval")
