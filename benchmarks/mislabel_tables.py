"""The tables of `benchmarks.mislabel`."""

from __future__ import annotations

import numpy as np

from benchmarks.fashion import REGIMES

CROSSED = "cleanlab, 5-fold cross-validation"
TARGETS = (0.2, 0.5, 0.8)


def table(cells: dict[str, dict[str, dict[str, float]]]) -> str:
    """The cells as markdown: mean over seeds, with the seeds' range."""
    lines = [
        "| regime | score | average precision | seconds | against cross-validation |",
        "|---|---|---|---|---|",
    ]
    for letter, regime in REGIMES.items():
        mine = [cell for key, cell in cells.items() if key.startswith(letter)]
        if not mine:
            continue
        base = np.mean([c["seconds"][CROSSED] for c in mine])
        for name in mine[0]["ap"]:
            values = [cell["ap"][name] for cell in mine]
            took = [cell["seconds"].get(name) for cell in mine]
            if name.startswith("cleanlab"):
                took = [cell["seconds"][CROSSED] for cell in mine]
            seconds = "" if took[0] is None else f"{np.mean(took):.0f}"
            ratio = "" if took[0] is None else f"{np.mean(took) / base:.2f}"
            lines.append(
                f"| {regime.name} | {name} | {np.mean(values):.3f} ({min(values):.3f} to "
                f"{max(values):.3f}) | {seconds} | {ratio} |"
            )
    return "\n".join(lines) + "\n\n" + promise_table(cells)


def promise_table(cells: dict[str, dict[str, dict[str, float]]]) -> str:
    """What probabilities and counts promised against what was true."""
    lines = [
        "| audit | regime | estimated / true count | wrong near .2 | near .5 | near .8 |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("auditkit", "auditkit --thorough"):
        for letter in (*REGIMES, ""):
            mine = [c["promises"][name] for key, c in cells.items() if key.startswith(letter)]
            if not mine:
                continue
            counts = [promise["estimated / true count"] for promise in mine]
            shares = []
            for target in TARGETS:
                near = sum(promise[f"findings near {target}"] for promise in mine)
                wrong = sum(promise[f"wrong near {target}"] for promise in mine)
                shares.append(f"{wrong / near:.2f} of {near:.0f}" if near else "-")
            lines.append(
                f"| {name} | {letter or 'all'} | {min(counts):.2f} to {max(counts):.2f} | "
                + " | ".join(shares)
                + " |"
            )
    return "\n".join(lines)
