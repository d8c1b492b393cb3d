"""Transformer++: judged by transformers' Llama, which has the same parts under other names."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dnamamba import GenomeConfig, LanguageModel, Pretraining, TrainConfig, UserError, load
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.models.transformer.positions import alibi_bias
from tests.families import assert_causal, assert_recomputed_gradients_are_equal


def drawn(**changes: Any) -> LanguageModel:
    torch.manual_seed(0)
    shape = {"d_model": 32, "n_layer": 3, "d_head": 8, "rotary_base": 100.0, "norm_eps": 1e-6}
    model = LanguageModel(TransformerConfig(**{**shape, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def llama(model: LanguageModel) -> Any:
    """The same model as a Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM  # takes seconds

    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    ours, config = model.state_dict(), model.config
    assert isinstance(config, TransformerConfig)
    shape = LlamaConfig(
        vocab_size=8,
        hidden_size=config.d_model,
        intermediate_size=config.d_hidden,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.d_model // config.d_head,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
        tie_word_embeddings=True,
    )
    table = ours["backbone.embedding.weight"]
    theirs = {"model.embed_tokens.weight": table, "lm_head.weight": table}
    theirs["model.norm.weight"] = ours["backbone.norm_f.weight"]
    for i in range(config.n_layer):
        block, other = f"backbone.layers.{i}", f"model.layers.{i}"
        q, k, v = ours[f"{block}.attention.qkv.weight"].chunk(3)
        gate, up = ours[f"{block}.network.gate_up.weight"].chunk(2)
        theirs |= {
            f"{other}.self_attn.q_proj.weight": q,
            f"{other}.self_attn.k_proj.weight": k,
            f"{other}.self_attn.v_proj.weight": v,
            f"{other}.self_attn.o_proj.weight": ours[f"{block}.attention.out.weight"],
            f"{other}.mlp.gate_proj.weight": gate,
            f"{other}.mlp.up_proj.weight": up,
            f"{other}.mlp.down_proj.weight": ours[f"{block}.network.down.weight"],
            f"{other}.input_layernorm.weight": ours[f"{block}.norm1.weight"],
            f"{other}.post_attention_layernorm.weight": ours[f"{block}.norm2.weight"],
        }
    made = LlamaForCausalLM(shape).eval()
    made.load_state_dict(theirs)
    return made


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_logits_and_hidden_states_equal_llama() -> None:
    model, tokens = drawn(), torch.randint(0, 8, (2, 50))
    with torch.no_grad():
        found = llama(model)(tokens, output_hidden_states=True)
        close(model(tokens).logits, found.logits)
        for blocks, hidden in enumerate(found.hidden_states):
            close(model.backbone(tokens, blocks=blocks).hidden, hidden)


def test_gradients_equal_llama() -> None:
    model, tokens = drawn(), torch.randint(0, 8, (2, 20))
    other = llama(model)
    weight = torch.randn(2, 20, 8)
    (model(tokens).logits * weight).sum().backward()
    (other(tokens).logits * weight).sum().backward()
    attention = other.model.layers[1].self_attn
    pairs = {
        "embedding": other.model.embed_tokens.weight.grad,
        "layers.1.attention.qkv": torch.cat(
            [each.weight.grad for each in (attention.q_proj, attention.k_proj, attention.v_proj)]
        ),
        "layers.2.network.down": other.model.layers[2].mlp.down_proj.weight.grad,
        "layers.0.norm2": other.model.layers[0].post_attention_layernorm.weight.grad,
    }
    for name, wanted in pairs.items():
        found = model.get_parameter(f"backbone.{name}.weight").grad
        torch.testing.assert_close(
            found / wanted.abs().max(), wanted / wanted.abs().max(), rtol=1e-4, atol=1e-5
        )


def test_bidirectional_attention_is_softmax_over_all_positions() -> None:
    """One head, one block, in float64, a position at a time."""
    model = drawn(d_model=8, n_layer=1, bidirectional=True).double()
    assert not model.backbone.causal
    tokens = torch.randint(0, 8, (1, 7))
    block, x = model.backbone.blocks()[0], model.backbone.embedding(tokens)[0]
    normed = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * block.norm1.weight
    q, k, v = (normed @ block.attention.qkv.weight.T).chunk(3, -1)

    def turn(row: Tensor, place: int) -> Tensor:
        pairs = torch.complex(row[:4], row[4:])
        angle = place * 100.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
        pairs = pairs * torch.complex(angle.cos(), angle.sin())
        return torch.cat([pairs.real, pairs.imag])

    rows = []
    for i in range(7):
        scores = torch.stack([turn(q[i], i) @ turn(k[j], j) for j in range(7)]) / 8**0.5
        rows.append(scores.softmax(0) @ v)
    mixed = x + torch.stack(rows) @ block.attention.out.weight.T
    found = x + block.attention(block.norm1(x[None]), _places(model, 7))[0]
    torch.testing.assert_close(found, mixed, rtol=1e-9, atol=1e-10)


def _places(model: LanguageModel, length: int) -> Any:
    return model.backbone._places(length, model.backbone.embedding.weight)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_alibi_lowers_scores_by_slope_times_distance(bidirectional: bool) -> None:
    """Four heads, whose slopes are those of its paper; in float64, a position at a time."""
    model = drawn(n_layer=1, positions="alibi", bidirectional=bidirectional).double()
    x = torch.randn(6, 32, dtype=torch.float64)
    attention = model.backbone.blocks()[0].attention
    heads = [one.chunk(4, -1) for one in (x @ attention.qkv.weight.T).chunk(3, -1)]
    mixed = []
    for q, k, v, slope in zip(*heads, (1 / 4, 1 / 16, 1 / 64, 1 / 256), strict=True):
        rows = []
        for i in range(6):
            read = range(6) if bidirectional else range(i + 1)
            scores = torch.stack([q[i] @ k[j] / 8**0.5 - slope * abs(i - j) for j in read])
            rows.append(scores.softmax(0) @ v[: len(read)])
        mixed.append(torch.stack(rows))
    wanted = torch.cat(mixed, -1) @ attention.out.weight.T
    torch.testing.assert_close(attention(x[None], _places(model, 6))[0], wanted, rtol=1e-9, atol=1e-10)


def test_absolute_positions_are_added_to_embedding() -> None:
    model = drawn(n_layer=1, positions="absolute", max_length=9).double()
    backbone, tokens = model.backbone, torch.randint(0, 8, (1, 9))
    x = backbone.embedding(tokens) + backbone.places.weight
    close(backbone(tokens, blocks=0).hidden, x)
    close(backbone(tokens, blocks=1).hidden, backbone.norm_f(backbone.blocks()[0](x, _places(model, 9))))
    assert (_places(model, 9).turns, _places(model, 9).bias) == (None, None)
    assert backbone.depth_of("places.weight") == 0
    with pytest.raises(UserError, match=r"the family transformer reads at most 9 bases \(got 10\)"):
        model(torch.zeros(1, 10, dtype=torch.uint8))


def test_alibi_counts_distances_past_256_in_half_precision() -> None:
    config = TransformerConfig(d_model=64, n_layer=1, d_head=32, positions="alibi")
    half, whole = (alibi_bias(600, config, torch.zeros(0, dtype=t)) for t in (torch.bfloat16, torch.float64))
    assert whole[1, 599, 0] == -599 * 2.0**-8
    torch.testing.assert_close(half.double(), whole, rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    "positions", [{}, {"positions": "alibi"}, {"positions": "absolute", "max_length": 40}]
)
def test_a_base_changes_nothing_before_it(positions: dict[str, Any]) -> None:
    assert_causal(drawn(**positions), atol=1e-6)


def test_settings_of_rotary_model_are_written_as_before() -> None:
    written = TransformerConfig(d_model=32, n_layer=1).to_dict()
    assert not {"positions", "max_length"} & set(written)
    for changes in ({"positions": "alibi"}, {"positions": "absolute", "max_length": 7}):
        config = TransformerConfig(d_model=32, n_layer=1, **changes)
        assert TransformerConfig.from_dict(config.to_dict()) == config


def test_matrices_are_drawn_by_rule_and_seed() -> None:
    torch.manual_seed(0)
    model = LanguageModel(TransformerConfig(d_model=128, n_layer=8))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == 1).all(), name
            continue
        share = 1 / 4 if name.endswith(("out.weight", "down.weight")) else 1
        assert parameter.std().item() == pytest.approx(0.02 * share, rel=0.05), name


def test_recomputed_blocks_have_the_same_gradients() -> None:
    assert_recomputed_gradients_are_equal(drawn())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_head": 7}, "model.d_head: must be even and divide"),
        ({"d_head": 24}, "model.d_head: must be even and divide"),
        ({"n_layer": 0}, "model.n_layer: must be a whole number"),
        ({"vocab_size": 300}, "model.vocab_size: must be at most 256"),
        ({"rotary_base": -1.0}, "model.rotary_base: must be positive"),
        ({"positions": "none"}, r"model.positions: must be one of rotary, alibi, absolute \(got none\)"),
        ({"positions": "absolute"}, "model.max_length: is of positions=absolute, which needs it"),
        ({"max_length": 9}, r"\(got 9 with positions=rotary\); set both or neither"),
        ({"positions": "absolute", "max_length": 0}, "model.max_length: must be a whole number from 1 to"),
    ],
)
def test_a_number_out_of_range_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TransformerConfig(**{"d_model": 32, "n_layer": 1, **changes})


@pytest.mark.parametrize("objective", ["next_base.NextBase", "masked.MaskedBases"])
def test_it_trains_by_either_objective_and_is_saved(tmp_path: Path, objective: str) -> None:
    (tmp_path / "genome.fa").write_text("".join(f">{name}\n{'AACCGGTT' * 60}\n" for name in ("a", "b", "c")))
    data = GenomeConfig(
        fasta=str(tmp_path / "genome.fa"),
        valid=["b"],
        test=["c"],
        max_length=32,
        batch_size=8,
        markov_orders=[],
        valid_windows=8,
    )
    masked = objective.startswith("masked")
    result = Pretraining(
        tmp_path / "run",
        data,
        TransformerConfig(d_model=32, n_layer=1, d_head=16, bidirectional=masked),
        f"dnamamba.objectives.{objective}",
        train=TrainConfig(max_steps=100, global_batch_size=8, learning_rate=1e-2, validate_every=100),
        quiet=True,
    ).run()
    assert result is not None
    headline = "bits_per_masked_base" if masked else "bits_per_base"
    # Two bits without the neighbours; of masked bases per step has fewer.
    assert result.results[headline]["test"] < (1.6 if masked else 0.7)
    tokens = torch.randint(0, 4, (1, 20))
    again = load(tmp_path / "run")
    assert torch.equal(again(tokens).logits, result.model.eval()(tokens).logits)
