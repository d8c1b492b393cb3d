"""The model's shape: what is refused, and what survives JSON."""

import json

import pytest

from dnamamba import MambaConfig, UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 0}, "model.d_model: must be a whole number of at least 1 (got 0)"),
        ({"n_layer": 2.0}, "model.n_layer: must be a whole number of at least 1 (got 2.0)"),
        ({"d_model": True}, "model.d_model: must be a whole number of at least 1 (got True)"),
        ({"d_model": "64"}, "model.d_model: must be a whole number of at least 1 (got '64')"),
        ({"vocab_size": 257}, "model.vocab_size: must be at most 256, a token is a byte (got 257)"),
        ({"a_scale": 0.0}, "model.a_scale: must be positive and finite (got 0.0)"),
        ({"dt_min": 0.2}, "must be positive, finite and in rising order (got 0.0001, 0.2, 0.1)"),
        ({"dt_max": float("inf")}, "must be positive, finite and in rising order (got 0.0001, 0.001, inf)"),
        ({"norm_eps": 0.0}, "model.norm_eps: must be positive and finite (got 0.0)"),
        ({"norm_eps": 1e30}, "model.norm_eps: must be at most 1 (got 1e+30)"),
        ({"norm_eps": float("nan")}, "model.norm_eps: must be positive and finite (got nan)"),
    ],
)
def test_a_number_out_of_range_is_named(values: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        MambaConfig(**{"d_model": 64, "n_layer": 8, **values})
    assert message in str(error.value)


@pytest.mark.parametrize(("d_model", "dt_rank"), [(64, 4), (96, 6), (128, 8), (100, 7), (8, 1)])
def test_dt_rank_is_sixteenth_of_width_rounded_up(d_model: int, dt_rank: int) -> None:
    assert MambaConfig(d_model, 1).dt_rank == dt_rank


@pytest.mark.parametrize(("vocab_size", "rows"), [(5, 8), (8, 8), (12, 16), (16, 16), (256, 256)])
def test_embedding_is_padded_to_multiple_of_eight(vocab_size: int, rows: int) -> None:
    assert MambaConfig(8, 1, vocab_size=vocab_size).padded_vocab_size == rows


def test_survives_json() -> None:
    config = MambaConfig(96, 10, alphabet="bytes", vocab_size=256, d_state=8)
    assert MambaConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_and_missing_settings_are_named() -> None:
    with pytest.raises(UserError, match="unknown model setting depth; known are d_model, n_layer"):
        MambaConfig.from_dict({"d_model": 8, "n_layer": 1, "depth": 2})
    with pytest.raises(UserError, match="model setting n_layer is missing"):
        MambaConfig.from_dict({"d_model": 8})


def test_differences_list_what_differs_only() -> None:
    ours, theirs = MambaConfig(64, 8), MambaConfig(96, 8, alphabet="bytes")
    assert ours.differences(theirs) == ["d_model: 64, 96", "alphabet: dna, bytes", "dt_rank: 4, 6"]
    assert ours.differences(MambaConfig(64, 8)) == []
