"""Language models in the engine: curvature, scores and changes of tokens against closed forms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditkit import (
    ClassificationTask,
    Documents,
    ForwardINF,
    LanguageModelTask,
    Pool,
    UpdateSettings,
    together,
)
from auditkit.engine.calibration import self_check
from auditkit.engine.cg import conjugate_gradients
from auditkit.engine.curvature import as_it_is, estimate
from auditkit.errors import MissingOutputsError, SettingError

VOCABULARY = 5
CPU = torch.device("cpu")
Values = npt.NDArray[np.float64]


class Bigram(nn.Module):
    """Scores for the next token from the last one: the loss is convex in the one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(VOCABULARY, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(functional.one_hot(tokens, VOCABULARY).to(self.head.weight))
        return scores


class Recurrent(nn.Module):
    """A language model with layers below its head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 6)
        self.mix, self.head = nn.Linear(6, 6), nn.Linear(6, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        past = torch.cumsum(self.embed(tokens), dim=1) / 3
        scores: Tensor = self.head(torch.tanh(self.mix(past)))
        return scores


def documents(count: int = 24, *, seed: int = 0) -> Pool:
    random = np.random.default_rng(seed)
    tokens = [random.integers(0, VOCABULARY, random.integers(2, 9)).tolist() for _ in range(count)]
    return Pool(Documents(tokens))


@pytest.fixture
def bigram() -> LanguageModelTask:
    torch.manual_seed(0)
    return LanguageModelTask(Bigram())


@pytest.fixture
def recurrent() -> LanguageModelTask:
    torch.manual_seed(0)
    return LanguageModelTask(Recurrent())


def exact_curvature(task: LanguageModelTask, pool: Pool) -> Tensor:
    """The second derivative of the mean loss: for a bigram, its Gauss-Newton matrix."""
    weight = task.model.head.weight.detach()

    def mean(flat: Tensor) -> Tensor:
        own = {"head.weight": flat.view(weight.shape)}
        losses = [
            torch.func.functional_call(_Loss(task), {f"model.{n}": w for n, w in own.items()}, row)
            for row in rows(pool)
        ]
        return torch.cat(losses).mean()

    found: Tensor = torch.autograd.functional.hessian(mean, weight.flatten())  # type: ignore[no-untyped-call]
    return found


class _Loss(nn.Module):
    def __init__(self, task: LanguageModelTask) -> None:
        super().__init__()
        self.task, self.model = task, task.model

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.task.loss(self.model, batch)


def rows(pool: Pool) -> list[tuple[tuple[Tensor, Tensor]]]:
    dataset = pool.dataset
    assert isinstance(dataset, Documents)
    return [
        ((torch.from_numpy(tokens)[None], torch.from_numpy(labels)[None]),)
        for tokens, labels in (dataset[place] for place in range(len(pool)))
    ]


def test_conjugate_gradients_solve_the_curvature_of_a_mean_over_tokens(
    bigram: LanguageModelTask,
) -> None:
    pool = documents()
    matrix, ridge = exact_curvature(bigram, pool), 1e-3
    slope = torch.randn(2, VOCABULARY, VOCABULARY)
    solve = conjugate_gradients(
        bigram, bigram.model, pool, np.arange(len(pool)), ridge=ridge, start=as_it_is,
        device=CPU, steps=200, settled=2.0,
    )  # fmt: skip
    found = solve({"head.weight": slope})["head.weight"].flatten(start_dim=1)
    expected = torch.linalg.solve(
        matrix + ridge * torch.eye(len(matrix)), slope.flatten(start_dim=1).T
    ).T
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2 * float(expected.std()))


def test_drawn_tokens_have_the_curvature_in_expectation(bigram: LanguageModelTask) -> None:
    pool = documents(12)
    matrix = exact_curvature(bigram, pool)
    drawn = [
        estimate("diagonal", bigram, bigram.model, pool, seed=seed, device=CPU).diagonal[
            "head.weight"
        ]
        for seed in range(400)
    ]
    mean = torch.stack(drawn).mean(dim=0).flatten()
    torch.testing.assert_close(mean, matrix.diagonal(), rtol=0.12, atol=2e-3)


def test_padding_changes_nothing(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(), documents(3, seed=1)
    for measure in ("auto", "tokens"):
        alone, together = (
            ForwardINF(
                recurrent, train=pool, preconditioner="diagonal", batch_size=size,
                train_measure=measure,
            ).influence(asked).values
            for size in (1, 24)
        )  # fmt: skip
        np.testing.assert_allclose(alone, together, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "kfac", "ekfac", "ggn"])
def test_a_document_is_a_proponent_of_itself(
    recurrent: LanguageModelTask, preconditioner: str
) -> None:
    pool = documents()
    engine = ForwardINF(recurrent, train=pool, preconditioner=preconditioner)  # type: ignore[arg-type]
    scores = engine.influence(pool.subset([2, 7])).values
    assert scores[0, 2] > 0
    assert scores[1, 7] > 0
    if preconditioner == "ggn":  # rows of every token would be too many, so it iterates
        assert engine.preconditioner == "ggn: as set."


def test_what_is_chosen_for_a_language_model_is_said(recurrent: LanguageModelTask) -> None:
    engine = ForwardINF(recurrent, train=documents())
    engine.influence(documents(1, seed=1))
    assert str(engine.preconditioner).startswith("ekfac")


def changed(task: LanguageModelTask, pool: Pool, weights: dict[str, Tensor]) -> list[Tensor]:
    """The change of each token's margin, one document after another, without the engine."""
    found = []
    for ((tokens, labels),) in rows(pool):
        values = []
        for own in (dict(task.model.named_parameters()), weights):
            scores = torch.func.functional_call(task.model, own, (tokens,))[0, :-1]
            logs = scores.log_softmax(dim=1).gather(1, labels[0, 1:, None])[:, 0]
            values.append(torch.log(-torch.expm1(logs)) - logs)
        found.append((values[1] - values[0]).detach())
    return found


def test_a_document_s_score_is_its_largest_change_of_a_token(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(), documents(1, seed=1)
    step = 0.3
    engine = ForwardINF(
        recurrent, train=pool, preconditioner="none", train_measure="tokens",
        update=UpdateSettings(step=step), batch_size=7,
    )  # fmt: skip
    model = recurrent.model
    recurrent.measure(model, rows(asked)[0][0]).mean().backward()
    weights = {
        name: (own + step * (0 if own.grad is None else own.grad)).detach()
        for name, own in model.named_parameters()
    }
    model.zero_grad()
    expected = changed(recurrent, pool, weights)
    scale = step * len(pool)
    scores = engine.influence(asked)
    np.testing.assert_allclose(
        scores.values[0], [float(own.max()) / scale for own in expected], rtol=1e-3, atol=1e-6
    )
    tokens = engine.token_changes(asked, pool.subset([4, 1]))
    for found, own in zip(tokens, (expected[4], expected[1]), strict=True):
        np.testing.assert_allclose(found, own.numpy() / scale, rtol=1e-3, atol=1e-6)
    assert scores.measure == "tokens"


def test_a_measure_that_cannot_be_raised_is_told_whatever_is_read(
    recurrent: LanguageModelTask,
) -> None:
    class Bounded(LanguageModelTask):
        """A measure that ends at 1."""

        def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return (super().measure(model, batch) / 4).sigmoid()

    said: list[str] = []
    engine = ForwardINF(
        Bounded(recurrent.model), train=documents(), preconditioner="none",
        train_measure="tokens", rise=3.0, warn=said.append,
    )  # fmt: skip
    asked = documents(2, seed=1)
    for ask, queries in (
        (engine.influence, "2 of 2 queries"),
        (engine.documents, "2 of 2 queries"),
        (engine.token_changes, "1 of 1 queries"),  # all of them are unlearned at once
    ):
        ask(asked)
        assert [queries in sentence for sentence in said] == [True], said
        said.clear()


def test_tokens_are_those_the_documents_count(recurrent: LanguageModelTask) -> None:
    dataset = Documents([[1, 2, 3, 4], [2, 2]], prompts=[2, 0])
    pool = Pool(dataset)
    engine = ForwardINF(recurrent, train=documents(), preconditioner="none", train_measure="tokens")
    found = engine.token_changes(documents(1, seed=1), pool)
    assert [len(own) for own in found] == [len(dataset.counted(place)) for place in (0, 1)]
    assert [list(dataset.counted(place)) for place in (0, 1)] == [[2, 3], [1]]


def test_tokens_need_a_task_that_has_them_and_finite_differences(
    recurrent: LanguageModelTask,
) -> None:
    for response, relative in (("first-order", False), ("finite", True)):
        with pytest.raises(SettingError, match="token_measure"):
            ForwardINF(
                recurrent, train=documents(), train_measure="tokens",
                response=response, relative=relative,  # type: ignore[arg-type]
            )  # fmt: skip
    classes = ClassificationTask(nn.Linear(2, 2))
    pool = Pool.from_arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
    with pytest.raises(SettingError, match="ClassificationTask"):
        ForwardINF(classes, train=pool, train_measure="tokens")
    with pytest.raises(MissingOutputsError, match="token_measure"):
        classes.token_measure(classes.model, (torch.zeros(1, 2), torch.zeros(1).long()))
    with pytest.raises(SettingError, match="train_measure"):
        ForwardINF(recurrent, train=documents()).token_changes(documents(1))


def scores_of(engine: ForwardINF, asked: Pool) -> npt.NDArray[np.float32]:
    return engine.influence(asked).values


def test_a_gpt_is_scored_in_both_its_forms() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=16, n_embd=8, n_layer=1, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    task = LanguageModelTask(transformers.GPT2LMHeadModel(config).eval())
    pool = documents()
    scores = scores_of(ForwardINF(task, train=pool, parameters="*mlp*"), pool.subset([3]))
    assert scores.argmax() == 3
    said = ForwardINF(task, train=pool).evaluate()
    assert said.loss.shape == (len(pool),)
    assert said.outputs is None
    small = transformers.T5Config(
        vocab_size=VOCABULARY + 2, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=5, pad_token_id=6,
    )  # fmt: skip
    torch.manual_seed(0)
    written = LanguageModelTask(
        transformers.T5ForConditionalGeneration(small).eval(), form="seq2seq"
    )
    scores = scores_of(ForwardINF(written, train=pool, preconditioner="none"), pool.subset([3]))
    assert np.isfinite(scores).all()
    assert scores[0, 3] > 0


def test_documents_are_scored_by_tokens_and_by_loss_in_one_pass(
    recurrent: LanguageModelTask,
) -> None:
    pool, asked = documents(), documents(5, seed=1)
    names = ["a", "b", "a", "c", "b"]
    engine = ForwardINF(
        recurrent, train=pool, preconditioner="kfac", train_measure="tokens", rise=0.5
    )
    found = engine.documents(asked, groups=names)
    tokens = engine.influence(asked, groups=names)
    loss = engine.configured(rise=0.5).influence(asked, groups=names)
    np.testing.assert_allclose(found.tokens.values, tokens.values, rtol=1e-5)
    np.testing.assert_allclose(found.tokens.step, tokens.step, rtol=1e-6)
    np.testing.assert_allclose(found.loss.values, loss.values, rtol=1e-2, atol=2e-5)
    assert found.loss.query_ids == ("a", "b", "c")
    assert (found.tokens.measure, found.loss.measure) == ("tokens", "loss")
    assert (found.together.measure, found.together.query_ids) == (
        "tokens and loss",
        ("a", "b", "c"),
    )
    np.testing.assert_allclose(
        found.together.values, together(found.tokens.values, found.loss.values), rtol=1e-5
    )
    some = engine.documents(asked.subset([3]), pool.subset([7, 2]))
    np.testing.assert_allclose(some.loss.values[0], found.loss.values[2, [7, 2]], rtol=1e-4)
    with pytest.raises(SettingError, match="train_measure"):
        engine.configured().documents(asked)


def test_checkpoints_are_averaged_at_the_same_rise_and_size(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(), documents(2, seed=1)
    moved = Recurrent()
    moved.load_state_dict({n: 1.1 * value for n, value in recurrent.model.state_dict().items()})

    def engine(task: LanguageModelTask, **more: object) -> ForwardINF:
        return ForwardINF(task, train=pool, preconditioner="none", train_measure="tokens", **more)  # type: ignore[arg-type]

    def size(values: Values) -> Values:
        return np.sqrt((values**2).mean(axis=1, keepdims=True))

    both = engine(recurrent, checkpoints=[moved.state_dict()], checkpoint_weights=[1, 3])
    alone, other = engine(recurrent).documents(asked), engine(LanguageModelTask(moved))
    found, further = both.documents(asked), other.documents(asked)
    steps = (further.tokens.step / alone.tokens.step)[:, None]
    assert not np.allclose(steps, 1, rtol=1e-2)
    for name in ("tokens", "loss"):
        mine, its = getattr(alone, name), getattr(further, name)
        sizes = size(mine.values) / size(its.values)
        assert not np.allclose(steps, sizes, rtol=1e-2)
        expected = mine.values / 4 + its.values * sizes * 3 / 4
        np.testing.assert_allclose(getattr(found, name).values, expected, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(getattr(found, name).step, mine.step, rtol=1e-6)
    influence = both.influence(asked).values
    expected = alone.tokens.values / 4 + further.tokens.values * steps * 3 / 4
    np.testing.assert_allclose(influence, expected, rtol=1e-4, atol=1e-8)
    part = both.influence(asked, pool.subset([7, 2])).values
    np.testing.assert_allclose(part, influence[:, [7, 2]], rtol=1e-4)
    for weights in ([1, 0], [0, 1]):
        one = engine(recurrent, checkpoints=[moved.state_dict()], checkpoint_weights=weights)
        own, its = one.documents(asked, candidates=2), one.documents(asked)
        left = ~np.isclose(own.loss.values, its.loss.values, rtol=1e-4)
        assert left.sum() > len(pool) / 2 if weights == [0, 1] else not left.any()


def test_checkpoints_are_asked_about_candidates_alone(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(40), documents(3, seed=1)
    other = {name: 1.1 * value for name, value in recurrent.model.state_dict().items()}
    engine = ForwardINF(
        recurrent, train=pool, preconditioner="none", train_measure="tokens", checkpoints=[other]
    )
    alone = ForwardINF(
        recurrent, train=pool, preconditioner="none", train_measure="tokens"
    ).documents(asked)
    seen: list[int] = []

    def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, Recurrent):
            seen.append(len(given[0]))

    whole = engine.documents(asked)
    handle = nn.modules.module.register_module_forward_pre_hook(count)
    try:
        some = engine.documents(asked, candidates=5)
        with_five, seen[:] = sum(seen), []
        engine.documents(asked)
        with_all = sum(seen)
    finally:
        handle.remove()
    assert with_five <= with_all - len(asked) * (len(pool) - 10)
    for row in range(len(asked)):
        by = [getattr(alone, name).values[row] for name in ("tokens", "loss", "together")]
        first = {int(own.argmax()) for own in by}  # each reading's first is among five
        changed = some.loss.values[row] != alone.loss.values[row]
        rest, last = np.flatnonzero(~changed), np.argsort(by[1], kind="stable")[:5]
        assert first | set(last.tolist()) <= set(np.flatnonzero(changed).tolist())
        assert changed.sum() <= 10
        for name in ("tokens", "loss"):
            own, before = (getattr(one, name).values[row] for one in (some, alone))
            np.testing.assert_allclose(own[rest], before[rest], rtol=1e-5)
            assert not np.allclose(own[changed], before[changed], rtol=1e-3)
    every = engine.documents(asked, candidates=20)
    np.testing.assert_array_equal(every.tokens.values, whole.tokens.values)
    with pytest.raises(SettingError, match="candidates is 0"):
        engine.documents(asked, candidates=0)


def test_changes_of_tokens_are_averaged_over_checkpoints(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(), documents(2, seed=1)
    moved = Recurrent()
    moved.load_state_dict({n: 1.1 * value for n, value in recurrent.model.state_dict().items()})

    def changes(task: LanguageModelTask, *checkpoints: dict[str, Tensor]) -> Values:
        engine = ForwardINF(
            task, train=pool, preconditioner="none", train_measure="tokens",
            checkpoints=checkpoints, checkpoint_weights=[1, 3][: 1 + len(checkpoints)],
        )  # fmt: skip
        return np.concatenate(engine.token_changes(asked))

    found = changes(recurrent, moved.state_dict())
    apart = (changes(recurrent), changes(LanguageModelTask(moved)))
    steps = [
        ForwardINF(task, train=pool, preconditioner="none", train_measure="tokens")
        .documents(asked, groups=["all"] * len(asked))
        .tokens.step[0]
        for task in (recurrent, LanguageModelTask(moved))
    ]
    expected = apart[0] / 4 + apart[1] * (steps[1] / steps[0]) * 3 / 4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert not np.allclose(*apart, rtol=1e-2)


def test_an_engine_on_other_parameters_is_that_of_its_own_making(
    recurrent: LanguageModelTask,
) -> None:
    pool, asked = documents(), documents(3, seed=1)
    first = ForwardINF(recurrent, train=pool)
    before = first.influence(asked).values
    other = first.with_curvature("ekfac", parameters="mix.*", damping=2.0).configured(
        rise=0.3, train_measure="tokens"
    )
    own = ForwardINF(
        recurrent, train=pool, preconditioner="ekfac", parameters="mix.*", damping=2.0, rise=0.3,
        train_measure="tokens",
    )  # fmt: skip
    np.testing.assert_array_equal(other.influence(asked).values, own.influence(asked).values)
    np.testing.assert_array_equal(first.influence(asked).values, before)
    with pytest.raises(SettingError, match="preconditioner"):
        first.with_curvature("newton")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="no trainable parameter"):
        first.with_curvature(parameters="nothing").influence(asked)


def test_an_engine_on_other_parameters_keeps_rise_and_damping(recurrent: LanguageModelTask) -> None:
    pool, asked = documents(), documents(3, seed=1)
    other = ForwardINF(recurrent, train=pool, damping=5.0, rise=0.3).with_curvature(
        "diagonal", parameters="mix.*"
    )
    own = ForwardINF(
        recurrent, train=pool, preconditioner="diagonal", parameters="mix.*", damping=5.0, rise=0.3
    )
    np.testing.assert_array_equal(other.influence(asked).values, own.influence(asked).values)
    plain = other.with_curvature("diagonal", parameters="mix.*", damping=1.0).influence(asked)
    assert not np.allclose(plain.values, own.influence(asked).values, rtol=1e-2)
    for damping in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="damping"):
            other.with_curvature(damping=damping)


def test_documents_are_evaluated_by_their_loss_alone(recurrent: LanguageModelTask) -> None:
    pool = documents()
    found = ForwardINF(recurrent, train=pool).evaluate()
    assert found.outputs is None
    batch = tuple(map(torch.from_numpy, pool.dataset.rows(np.arange(len(pool)))))  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = recurrent.loss(recurrent.model.eval(), batch)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


def test_a_self_check_is_not_advised_on(recurrent: LanguageModelTask) -> None:
    said: list[str] = []
    ForwardINF(recurrent, train=documents(), train_measure="tokens", warn=said.append).self_check(
        queries=12
    )
    assert not any("first-order" in sentence for sentence in said)


def test_the_self_check_is_of_what_documents_are_ranked_by(recurrent: LanguageModelTask) -> None:
    pool = documents(30, seed=2)
    engine = ForwardINF(recurrent, train=pool, train_measure="tokens", rise=0.5)

    def ranked(asked: Pool, pool: Pool, groups: Sequence[str] | None = None) -> Values:
        return engine.documents(asked, pool, groups=groups).together.values

    alone, joined = (engine.self_check(queries=20, together=own) for own in (False, True))
    assert joined == self_check(ranked, pool, 20, 512, seed=0)
    assert joined.top1 != alone.top1
    with pytest.raises(SettingError, match="train_measure"):
        engine.configured().self_check(together=True)
