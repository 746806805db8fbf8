"""Embeddings and head are found in models of several families, whatever they call them."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from auditkit_tracing.moving import moving_patterns
from torch import nn

transformers = pytest.importorskip("transformers")


def moved(model: nn.Module) -> set[str]:
    patterns, _ = moving_patterns(model)
    assert patterns is not None
    return {
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and any(fnmatchcase(name, own) for own in patterns.split("|"))
    }


def gpt() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    made: nn.Module = transformers.GPT2LMHeadModel(config)
    return made


def llama(*, tied: bool) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    made: nn.Module = transformers.LlamaForCausalLM(config)
    return made


def t5() -> nn.Module:
    config = transformers.T5Config(
        vocab_size=30, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    made: nn.Module = transformers.T5ForConditionalGeneration(config)
    return made


@pytest.mark.parametrize(
    ("model", "pattern", "out"),
    [
        (gpt(), "transformer.h.*|transformer.ln_f.*", {"transformer.wte", "transformer.wpe"}),
        (llama(tied=True), "model.layers.*|model.norm.*", {"model.embed_tokens"}),
        (llama(tied=False), "model.layers.*|model.norm.*", {"model.embed_tokens", "lm_head"}),
    ],
    ids=["GPT-2", "Llama, tied", "Llama"],
)
def test_blocks_move_without_embeddings_and_head(
    model: nn.Module, pattern: str, out: set[str]
) -> None:
    patterns, said = moving_patterns(model)
    assert patterns == pattern
    assert "embeddings and head are left out" in said
    left = {name for name, _ in model.named_parameters()} - moved(model)
    assert {name.rpartition(".")[0] for name in left} == out


def test_of_t5_shared_embeddings_and_positions_stay() -> None:
    model = t5()
    left = {name for name, _ in model.named_parameters()} - moved(model)
    assert "shared.weight" in left
    assert all("shared" in name or "relative_attention_bias" in name for name in left)
    assert any(name.startswith("decoder.block.1") for name in moved(model))


def test_a_model_of_ones_own_is_known_by_its_sizes() -> None:
    model = nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 30))
    assert moving_patterns(model)[0] == "1.*"


def test_where_nothing_would_be_left_everything_moves() -> None:
    assert moving_patterns(nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 30)))[0] is None
    assert moving_patterns(nn.Linear(8, 3)) == (None, "All trainable parameters move.")


def test_what_is_frozen_is_not_counted() -> None:
    model = llama(tied=False)
    for name, weight in model.named_parameters():
        weight.requires_grad_("layers.1" in name)
    assert moving_patterns(model)[0] is None


class Letters(nn.Module):
    """Few tokens, and as many positions as its hidden layer has outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(10, 8), nn.Embedding(32, 8)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)
        self.head = nn.Linear(8, 10)


def test_a_layer_as_wide_as_there_are_positions_is_no_head() -> None:
    kept = {"up.weight", "up.bias", "down.weight", "down.bias"}
    assert moved(Letters()) == kept


def test_only_the_head_that_a_model_names_stays() -> None:
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=30, num_hidden_layers=1,
        num_attention_heads=2, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    assert "model.layers.0.mlp.up_proj.weight" in moved(model)
    assert "lm_head.weight" not in moved(model)
