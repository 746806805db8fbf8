"""The language model: a tokenizer of whole words and a small GPT-2, trained from scratch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from auditkit import Documents, LanguageModelTask, Pool, Recipe
from benchmarks.tracing.corpus import Corpus, Query

LAYERS, WIDTH, HEADS, CONTEXT = 2, 160, 5, 32
EPOCHS, BATCH, RATE, DECAY, WARMUP = 16, 64, 4e-3, 0.01, 40
RECIPE = Recipe(weight_decay=DECAY, batch_size=BATCH, epochs=EPOCHS, schedule="cosine")
"""As far as the engine is to know it: AdamW's decay is no part of the curvature."""
EARLIER = 12
"""After how many epochs the checkpoint is taken that some ways read beside the trained model."""
START, PAD = "<s>", "<pad>"


def make_tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """One token for each word of the documents, and one that every text begins with."""
    words = sorted({word for own in corpus.documents for word in own.text.split()})
    vocabulary = {word: place for place, word in enumerate((PAD, START, *words))}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, vocabulary[START])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=whole, bos_token=START, pad_token=PAD)


def make_model(words: int, seed: int) -> GPT2LMHeadModel:
    """An untrained GPT-2 without dropout, whose head has weights of its own."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=words, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            use_cache=False, tie_word_embeddings=False, bos_token_id=1, eos_token_id=1,
        )
    )  # fmt: skip


def document_pool(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> Pool:
    """The training documents, whose ids are their places."""
    return Pool(Documents([tokenizer.encode(own.text) for own in corpus.documents]))


def query_pool(queries: Sequence[Query], tokenizer: PreTrainedTokenizerFast) -> Pool:
    """The queries, of which only the answers are to be predicted."""
    prompts = [len(tokenizer.encode(own.prompt)) for own in queries]
    return Pool(
        Documents([tokenizer.encode(own.text) for own in queries], prompts=prompts),
        ids=[f"query {place}" for place in range(len(queries))],
    )


def trained(
    corpus: Corpus,
    *,
    seed: int,
    file: Path,
    left_out: npt.NDArray[np.int64] | None = None,
    epochs: int = EPOCHS,
) -> LanguageModelTask:
    """The model trained on the documents, without some of them; read from the file if it is there.

    With and without documents left out, the first weights, the order and the learning rates are
    the same. With fewer epochs it is the same training, left early.
    """
    tokenizer = make_tokenizer(corpus)
    task = LanguageModelTask(make_model(len(tokenizer), seed), tokenizer=tokenizer)
    model = task.model
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
    else:
        pool = document_pool(corpus, tokenizer)
        for _ in islice(training(task, pool, seed=seed, left_out=left_out), epochs):
            pass
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_suffix(".part")
        torch.save(model.state_dict(), whole)
        whole.replace(file)
    model.eval()
    return task


def training(
    task: LanguageModelTask,
    train: Pool,
    *,
    seed: int,
    left_out: npt.NDArray[np.int64] | None = None,
) -> Iterator[float]:
    """Train in place by AdamW, and come back after every epoch with the mean loss.

    `auditkit.training` would do, but for padding: here a batch is of documents of about one length,
    which makes an epoch half as long again as fast. Documents left out are taken out of their
    batches, as there.
    """
    data, model, order = documents_of(train), task.model, np.random.default_rng([seed, 43])
    kept = np.ones(len(train), bool)
    kept[[] if left_out is None else left_out] = False
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98), fused=True
    )
    steps = EPOCHS * -(-len(train) // BATCH)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
    )
    model.train()
    for _ in range(EPOCHS):
        losses = []
        for batch in _batches(data, order):
            rest = batch[kept[batch]]
            if len(rest):
                tokens, labels = (torch.from_numpy(part) for part in data.rows(rest))
                loss = task.loss(model, (tokens, labels)).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(float(loss))
            rates.step()
        yield float(np.mean(losses))


def _batches(data: Documents, order: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """All documents once, in random batches of similar lengths, in random order."""
    mixed = order.permutation(len(data))
    lengths = np.array([len(data.tokens[place]) for place in mixed])
    mixed = mixed[np.argsort(lengths, kind="stable")]
    cut = [mixed[start : start + BATCH] for start in range(0, len(mixed), BATCH)]
    return [cut[place] for place in order.permutation(len(cut))]


def probabilities(task: LanguageModelTask, queries: Pool) -> Tensor:
    """The probability of each query's answer after its prompt, float32 [query]."""
    every = np.arange(len(queries))
    tokens, labels = (torch.from_numpy(part) for part in documents_of(queries).rows(every))
    with torch.no_grad():
        return (-task.measure(task.model, (tokens, labels))).exp()


def documents_of(pool: Pool) -> Documents:
    """The texts of a pool made here, as token ids."""
    data = pool.dataset
    assert isinstance(data, Documents)  # noqa: S101 - as the pools here are made
    return data
