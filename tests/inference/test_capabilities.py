"""What each command asks of a model, and what it refuses: capabilities, lengths, non-finite values."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnamamba import LanguageModel, UserError, embed, generate, get_alphabet, load, save_model, tracks
from dnamamba.data.fasta import Genome
from dnamamba.inference.effects import Site, Windows, score_sites
from dnamamba.models import MambaBackbone

from .conftest import random_dna

DNA = get_alphabet("dna")
LETTERS = random_dna(200)


def one_site(model: LanguageModel, folder: Path, window: int = 60) -> np.ndarray:
    (folder / "g.fa").write_text(f">a\n{LETTERS[:90]}ACGT{LETTERS[94:]}\n")
    site = Site("a", 91, tuple(DNA.encode(base) for base in ("C", "T", "CAA")))
    return np.array(next(score_sites(model, Genome(folder / "g.fa", DNA), [site], Windows(window))))


def test_model_without_state_gives_same_values(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read whole and in one piece where a recurrent model is read in pieces and its flank once."""
    before = embed(model, [LETTERS]), tracks(model, [LETTERS], strand="both"), one_site(model, tmp_path)
    monkeypatch.setattr(MambaBackbone, "recurrent", False)
    after = embed(model, [LETTERS]), tracks(model, [LETTERS], strand="both"), one_site(model, tmp_path)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[2], before[2], rtol=1e-3, atol=1e-5)


def test_model_without_state_refuses_what_is_too_long(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MambaBackbone, "recurrent", False)
    monkeypatch.setattr(MambaBackbone, "max_length", 50)
    said = r"the family mamba reads at most 50 bases at once \(got {}\); "
    with pytest.raises(UserError, match="^0:1-200: " + said.format(200) + "cut it with window=50 or less$"):
        embed(model, [LETTERS])
    assert embed(model, [LETTERS], window=50).shape == (4, 24)
    with pytest.raises(UserError, match="^0:1-200: " + said.format(200) + "give shorter regions"):
        tracks(model, [LETTERS])
    with pytest.raises(UserError, match="^a:92: " + said.format(62) + "set a smaller window"):
        one_site(model, tmp_path)


@pytest.mark.parametrize(
    ("lacks", "refused"), [("recurrent", {"generate"}), ("causal", {"generate", "tracks", "score"})]
)
def test_command_refuses_model_that_lacks_capability(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str, refused: set[str]
) -> None:
    monkeypatch.setattr(MambaBackbone, lacks, False)
    commands: dict[str, Callable[[], object]] = {
        "generate": lambda: generate(model, "ACGT", 3),
        "tracks": lambda: tracks(model, [LETTERS]),
        "score": lambda: one_site(model, tmp_path),
        "embed": lambda: embed(model, [LETTERS]),
    }
    for name, command in commands.items():
        if name in refused:
            with pytest.raises(
                UserError, match=f"^{name} needs a model that is {lacks}, and the family mamba is not$"
            ):
                command()
        else:
            command()


def test_only_equal_lengths_share_a_batch_without_causality(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding must not be seen by a model that looks ahead."""
    seen = []
    forward = MambaBackbone.forward
    monkeypatch.setattr(MambaBackbone, "causal", False)
    monkeypatch.setattr(
        MambaBackbone,
        "forward",
        lambda self, tokens, *rest, **more: seen.append(tokens) or forward(self, tokens, *rest, **more),
    )
    embed(model, [LETTERS[:20], LETTERS[:30], LETTERS[20:40]])
    assert [tuple(tokens.shape) for tokens in seen] == [(1, 30), (2, 20)]
    assert not any((tokens == DNA.pad_id).any() for tokens in seen)


def test_non_finite_weights_are_refused_at_load(model: LanguageModel, tmp_path: Path) -> None:
    broken = LanguageModel(model.config)
    broken.load_state_dict(model.state_dict())
    broken.backbone.layers[1].mixer.dt_proj.weight.data.view(-1)[3] = float("inf")
    save_model(broken, tmp_path / "m")
    with pytest.raises(UserError, match=r"m: backbone\.layers\.1\.mixer\.dt_proj\.weight is not finite"):
        load(tmp_path / "m")


@pytest.mark.parametrize("pooling", ["mean", "last", "none"])
def test_results_that_are_not_finite_name_their_region(
    model: LanguageModel, tmp_path: Path, pooling: str
) -> None:
    broken = LanguageModel(model.config)
    broken.load_state_dict(model.state_dict())
    broken.backbone.norm_f.weight.data[0] = float("nan")
    said = r": the model computes values that are not finite \(got nan\); use precision=fp32"
    for more in ({}, {"pool_every": 30} if pooling != "none" else {"strand": "both"}):
        with pytest.raises(UserError, match="^0:1-200" + said):
            embed(broken, [LETTERS], pooling=pooling, **more)
    with pytest.raises(UserError, match="^0:1-200" + said):
        tracks(broken, [LETTERS])
    with pytest.raises(UserError, match="^a:92" + said):
        one_site(broken, tmp_path)
    with pytest.raises(UserError, match="^generated sequence 1" + said):
        generate(broken, "ACGT", 3)
