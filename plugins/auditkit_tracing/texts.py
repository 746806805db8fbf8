"""Behaviours of a language model: what it writes after a prompt, or answers to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from auditkit import Pool, TextPreview
from auditkit.errors import SettingError, UsageError, did_you_mean
from auditkit_tracing.behaviours import TOGETHER, Asked, Query, quoted
from auditkit_tracing.prompts import Prompt, read_prompts
from auditkit_tracing.settings import Context
from auditkit_tracing.tokens import Tokenized, check_length, prompt_tokens, tokenized
from auditkit_tracing.writing import last_tokens, write

if TYPE_CHECKING:
    from auditkit import Answers, Documents, LanguageModelTask
    from auditkit.showing import PoolName
    from auditkit.tasks.language_model import Tokenizer

UNLEARNT = 0.3
"""Completions of a lower probability are hardly what the model has learnt."""


def asked(context: Context) -> Asked:
    """The completions that the settings name, or the subject's own queries.

    Raises:
        UsageError: another task than a `LanguageModelTask`, prompts without a tokenizer, or nothing
            that is asked about.
        SettingError: a prompt or completion that is no use, or an id that no query has.
    """
    task, settings = language_task(context), context.settings
    prompts = read_prompts(settings)
    if not prompts:
        return _own_queries(context)
    if settings.query:
        raise SettingError(
            f"Both --query {settings.query[0]} and prompts were given: leave one out."
        )
    tokenizer = task.tokenizer
    if tokenizer is None:
        raise UsageError(
            "Prompts are texts, and the task has no tokenizer: give "
            "`LanguageModelTask(model, tokenizer=...)`, or queries as a pool of token ids."
        )
    found, written, ends = [], [], last_tokens(documents_of(context.subject.train))
    with context.progress.step("writing completions", len(prompts)) as step:
        for prompt in prompts:
            found.append(_tokens(prompt, task, tokenizer, count=settings.tokens, ends=ends))
            written.append(prompt.completion is None)
            step.advance()
    if any(written):
        which = (
            f"{sum(written):,} of {len(written):,} completions were"
            if len(written) > 1
            else "The completion was"
        )
        context.note(
            f"{which} written by the model itself, always with the likeliest next token, up to "
            f"{settings.tokens} of them (--tokens)"
            + (", or to a token that training texts end with." if ends else ".")
        )
    pool = _pool(prompts, found, task, pad=_pad(context.subject.train))
    logs = log_probabilities(context, pool, [len(own.completion) for own in found])
    follows = "answered" if task.form == "seq2seq" else "followed by"
    queries = [
        Query(
            group=TOGETHER if settings.together else prompt.group,
            says=f"{quoted(prompt.prompt)} is {follows} {quoted(own.text)}",
            probability=float(np.exp(log)),
            per_token=float(np.exp(log / len(own.completion))),
            prompt=prompt.prompt,
            completion=own.text,
            written=by_itself,
        )
        for prompt, own, log, by_itself in zip(prompts, found, logs, written, strict=True)
    ]
    _warn_of_unlearnt(context, queries)
    return Asked(pool, queries)


def _warn_of_unlearnt(context: Context, queries: Sequence[Query]) -> None:
    """Say so where completions that were given are hardly what the model would write."""
    given = [query for query in queries if not query.written]
    poor = [query for query in given if query.probability < UNLEARNT]
    if poor:
        context.note(
            f"The model gives {len(poor):,} of {len(given):,} completions a probability below "
            f"{UNLEARNT:g} ({quoted(poor[0].completion or '')}: {poor[0].probability:.2g}). Where "
            "it has hardly learnt a completion, what taught it is told less well: leave the "
            "completion out to trace what the model does write.",
            level="warning",
        )


def language_task(context: Context) -> LanguageModelTask:
    """The task, of which tokens and the model's next one are known.

    Raises:
        UsageError: it is another one.
    """
    from auditkit import LanguageModelTask  # noqa: PLC0415 - brings torch

    task = context.task
    if not isinstance(task, LanguageModelTask):
        raise UsageError(
            f"Texts are traced through a {type(task).__name__}: it needs an "
            "auditkit.LanguageModelTask."
        )
    return task


def documents_of(pool: Pool) -> Documents | Answers | None:
    """The data set of a pool, where its tokens are known."""
    from auditkit import Answers, Documents  # noqa: PLC0415 - as above

    dataset: object = pool.dataset
    return dataset if isinstance(dataset, Documents | Answers) else None


def log_probabilities(context: Context, pool: Pool, counted: Sequence[int]) -> list[float]:
    """The log probability of all counted tokens of each query, under the trained model."""
    losses = context.engine.evaluate(pool).loss.astype(np.float64)
    return [-float(loss) * count for loss, count in zip(losses, counted, strict=True)]


def _own_queries(context: Context) -> Asked:
    """The subject's queries, all or those that are named."""
    pool, wanted = context.subject.queries, list(dict.fromkeys(context.settings.query))
    if pool is None and wanted:
        raise UsageError(
            f"--query names {wanted[0]!r}, and there are no texts to be asked about beside the "
            "training texts: give their table as the second path, or what the model writes with "
            "--prompt TEXT."
        )
    if pool is None:
        raise UsageError(
            "Nothing was asked about: give --prompt TEXT, with --completion TEXT if you like, or "
            "--queries FILE with a JSON object a line, or a table of texts as the second path; in "
            "Python, `Subject(queries=...)`."
        )
    name: PoolName = "train" if pool is context.subject.train else "queries"
    unknown = [own for own in wanted if own not in pool.ids]
    if unknown:
        raise SettingError(
            f"--query names {unknown[0]!r}, which is the id of none of the {len(pool):,} queries: "
            f"{did_you_mean(unknown[0], pool.ids[:50])}"
        )
    if wanted:
        pool = pool.subset(pool.positions(wanted))
    shifted = language_task(context).form == "causal"
    counted = [_counted(pool[place], shifted=shifted) for place in range(len(pool))]
    logs = log_probabilities(context, pool, counted)
    queries = []
    for place, (log, count) in enumerate(zip(logs, counted, strict=True)):
        preview = pool.preview(place)
        text = preview.text if isinstance(preview, TextPreview) else None
        queries.append(
            Query(
                group=TOGETHER if context.settings.together else pool.ids[place],
                says=f"{quoted(text)} ends as it does" if text else f"{pool.ids[place]} is written",
                probability=float(np.exp(log)),
                per_token=float(np.exp(log / count)),
                completion=text,
                shown=(name, pool.ids[place]),
            )
        )
    return Asked(pool, queries)


def _counted(example: object, *, shifted: bool) -> int:
    """How many labels of an example count; the first one does not where they are shifted."""
    if isinstance(example, dict):
        labels = next((example[key] for key in ("labels", "label") if key in example), ())
    else:
        labels = example[-1] if isinstance(example, tuple | list) else ()
    values = np.asarray(labels)[int(shifted) :]
    return max(int((values != -100).sum()), 1)


def _tokens(
    prompt: Prompt,
    task: LanguageModelTask,
    tokenizer: Tokenizer,
    *,
    count: int,
    ends: Collection[int],
) -> Tokenized:
    answers = task.form == "seq2seq"
    if prompt.completion is not None:
        own = tokenized(prompt, prompt.completion, tokenizer, answers=answers)
        check_length(prompt, own, task)
        return own
    given = prompt_tokens(prompt, tokenizer, answers=answers)
    check_length(prompt, Tokenized(given, [] if answers else [0], ""), task)
    room = count if task.context is None or answers else min(count, task.context - len(given))
    end = getattr(tokenizer, "eos_token_id", None)
    tokens = write(task, given, count=room, end=end, ends=ends)
    if not tokens:
        raise SettingError(
            f"The model writes nothing after the prompt {prompt.prompt[:60]!r}: say what is to be "
            "traced with --completion."
        )
    return Tokenized(given, tokens, tokenizer.decode(tokens))


def _pool(
    prompts: Sequence[Prompt], found: Sequence[Tokenized], task: LanguageModelTask, *, pad: int
) -> Pool:
    """The queries as the engine takes them: completions count, prompts do not."""
    from auditkit import Answers, Documents  # noqa: PLC0415 - brings torch

    ids = [prompt.id for prompt in prompts]
    if task.form == "seq2seq":
        return Pool(
            Answers([own.prompt for own in found], [own.completion for own in found], pad=pad),
            ids=ids,
        )
    return Pool(
        Documents(
            [[*own.prompt, *own.completion] for own in found],
            prompts=[len(own.prompt) for own in found],
            pad=pad,
        ),
        ids=ids,
    )


def _pad(train: Pool) -> int:
    documents = documents_of(train)
    return 0 if documents is None else documents.pad
