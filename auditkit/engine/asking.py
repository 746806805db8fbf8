"""What is tried before scores are computed, the scores, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from auditkit.engine.advice import Advice, cheaper
from auditkit.engine.scoring import Scoring, Tile
from auditkit.engine.sides import Sides
from auditkit.engine.trials import Trials
from auditkit.gradients import differentiable
from auditkit.pool import Pool, Positions
from auditkit.seeds import seeded


class Asking:
    """Asks a `Scoring` for scores, and tells the user what must be known of them.

    Args:
        trials: what is tried before anything is computed.
        models: how many updates each query gets.
        seed: of everything random.
        warn: is told, in a sentence.
    """

    def __init__(
        self, trials: Trials, *, models: int, seed: int, warn: Callable[[str], None] | None
    ) -> None:
        self._trials, self._models = trials, models
        self._seed, self._warn = seed, warn

    def tiles(
        self,
        scoring: Scoring,
        queries: Pool,
        rows: Mapping[str, Positions],
        pool: Pool,
        *,
        advise: bool = True,
    ) -> Iterator[Tile]:
        """Scores block by block, and what there is to be said of them at last.

        Without `advise`, not that there is a cheaper way: the self-check's queries are its own.
        """
        with self.about(scoring, queries, pool, rows=len(rows)):
            if advise:
                self._advise(scoring, pool, len(rows))
            yield from scoring.tiles(queries, list(rows.values()), pool)

    @contextmanager
    def about(self, scoring: Scoring, queries: Pool, pool: Pool, *, rows: int) -> Iterator[None]:
        """Within, scores of so many rows may be computed.

        The model is tried before, and after, what came up meanwhile is told.
        """
        scoring.advice = Advice()
        with seeded(self._seed), differentiable():
            self._try(scoring.sides, queries, pool)
            yield
        updates = rows * self._models
        for sentence in scoring.advice.sentences(updates=updates, rise=scoring.sides.rise):
            self.tell(sentence)

    def tell(self, sentence: str | None) -> None:
        """Tell the user, if there is anything to tell and somebody to tell it to."""
        if sentence is not None and self._warn is not None:
            self._warn(sentence)

    def _try(self, sides: Sides, queries: Pool, pool: Pool) -> None:
        """Try the model before anything is computed, and say what must be known of it."""
        self.tell(self._trials.of(sides.query, sides.train, queries=queries, pool=pool))

    def _advise(self, scoring: Scoring, pool: Pool, rows: int) -> None:
        """Say so where first-order scores would be much cheaper."""
        slow = scoring.sides.response == "finite" and not scoring.sides.by_token
        if self._warn is not None and slow:
            estimate = scoring.cost(pool, rows=rows)
            self.tell(cheaper(estimate, queries=rows, examples=len(pool)))
