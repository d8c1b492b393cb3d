"""Masked language modelling: which bases are chosen, what becomes of them, and what it teaches."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba import GenomeConfig, LanguageModel, MambaConfig, Pretraining, TrainConfig, UserError
from dnamamba.data.alphabet import get_alphabet
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.objectives.base import Batch
from dnamamba.objectives.masked import IGNORED, MaskedBases, uniform

DNA = MambaConfig(d_model=8, n_layer=1)
ALPHABET = get_alphabet("dna")


def batch(rows: int, length: int, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 6, (rows, length + 1), dtype=torch.uint8, generator=generator)
    return {"tokens": tokens, "index": torch.arange(first, first + rows)}


def test_choice_depends_on_seed_sample_and_place_alone() -> None:
    objective = MaskedBases(DNA)
    whole = batch(6, 400, first=2**40)
    read, targets = objective.masked(whole)
    order = torch.tensor([4, 1])
    part = {name: value[order] for name, value in whole.items()}
    again = objective.masked(part)
    assert torch.equal(again.tokens, read[order])
    assert torch.equal(again.targets, targets[order])
    shorter = objective.masked({**whole, "tokens": whole["tokens"][:, :101]})
    assert torch.equal(shorter.tokens, read[:, :100])
    for other in (MaskedBases(DNA, seed=1).masked(whole), objective.masked(batch(6, 400))):
        same = ((other.targets == IGNORED) == (targets == IGNORED)).float().mean()
        assert 0.7 < same < 0.9, "independent choices agree in 83 % of two thirds of the places"


def test_the_shares_are_those_of_the_paper() -> None:
    """Of 1.3 million known bases, each share within five standard deviations."""
    objective = MaskedBases(DNA)
    given = batch(500, 4_000)
    read, targets = objective.masked(given)
    tokens = given["tokens"][:, :-1]
    known, chosen = objective.scored[tokens.int()], targets != IGNORED
    assert not (chosen & ~known).any()
    assert torch.equal(read[~chosen], tokens[~chosen])
    assert torch.equal(targets[chosen], tokens[chosen].long())

    def near(found: Tensor, share: float) -> None:
        deviation = (share * (1 - share) / found.numel()) ** 0.5
        assert abs(found.float().mean().item() - share) < 5 * deviation

    near(chosen[known], 0.15)
    near(read[chosen] == ALPHABET.mask_id, 0.8)
    near(read[chosen] == tokens[chosen], 0.1 + 0.1 / 4)
    for base in range(4):
        near(read[chosen] == base, 0.2 / 4)
    for place in (0, 1, 1_999, 3_999):
        near(chosen[:, place][known[:, place]], 0.15)


def test_the_loss_is_of_the_chosen_bases_alone() -> None:
    torch.manual_seed(0)
    objective, model, given = MaskedBases(DNA, rate=0.5), LanguageModel(DNA).double(), batch(3, 50)
    read, targets = objective.masked(given)
    logits = model(read).logits
    places = (targets != IGNORED).nonzero().tolist()
    by_hand = sum(-logits[b, t].log_softmax(-1)[given["tokens"][b, t].long()] for b, t in places)
    torch.testing.assert_close(objective.loss_sum(model, given), by_hand.float(), rtol=1e-5, atol=1e-5)
    assert objective.number_of_targets(given) == len(places) > 30

    meter = objective.meter()
    for rows in (slice(0, 1), slice(1, 3)):
        meter.update(model, {name: value[rows] for name, value in given.items()})
    found = meter.compute()
    bits = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item() / torch.log(torch.tensor(2.0))
    assert found["bits_per_masked_base"].item() == pytest.approx(bits.item(), rel=1e-5)
    right = sum(int(logits[b, t].argmax()) == int(targets[b, t]) for b, t in places)
    assert found["accuracy"].item() == pytest.approx(right / len(places))


@pytest.mark.parametrize("alphabet", ["dna", "bytes", "characters", "mlm"])
def test_only_nucleotides_are_masked_by_a_non_letter(alphabet: str) -> None:
    letters = get_alphabet(alphabet)
    config = MambaConfig(d_model=8, n_layer=1, alphabet=alphabet, vocab_size=letters.size)
    objective = MaskedBases(config, rate=1.0)
    ids = letters.encode("ACGTNacgtnRY.-ACGT")
    tokens = torch.from_numpy(ids.copy())[None]
    read, targets = objective.masked({"tokens": tokens, "index": torch.tensor([3])})
    assert (targets[0] != IGNORED).tolist() == [letter in "ACGTacgt" for letter in "ACGTNacgtnRY.-ACG"]
    assert letters.mask_id not in letters.encode(bytes(range(32, 127)))
    assert letters.mask_id in read[0].tolist()
    assert letters.mask_id != letters.pad_id


def test_random_numbers_are_known_values() -> None:
    """The first numbers of a plain SplitMix64, in Python's whole numbers."""
    mask = 2**64 - 1

    def mix(bits: int) -> int:
        bits = (bits + 0x9E3779B97F4A7C15) & mask
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)

    golden = 0x9E3779B97F4A7C15
    draw = uniform(7, torch.tensor([0, 5, 2**50]), 3)
    for number in (0, 2):
        for row, index in enumerate((0, 5, 2**50)):
            for place in range(3):
                sample = mix((mix(7) + index * golden) & mask)
                bits = mix((mix(sample ^ number) + place * golden) & mask)
                assert draw(number)[row, place].item() == (bits >> 40) / 2**24


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"rate": 1.5}, {"seed": -1}, {"seed": 0.5}])
def test_a_setting_out_of_range_is_named(options: dict[str, float]) -> None:
    (key,) = options
    with pytest.raises(UserError, match=rf"objective\.{key}: must"):
        MaskedBases(DNA, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("equivariant", [True, False])
def test_caduceus_learns_what_both_sides_tell(tmp_path: Path, equivariant: bool) -> None:
    """In repeats of AACCGGTT a base needs its neighbours; without them it costs two bits."""
    (tmp_path / "genome.fa").write_text("".join(f">{name}\n{'AACCGGTT' * 100}\n" for name in ("a", "b", "c")))
    result = Pretraining(
        tmp_path / "run",
        GenomeConfig(
            fasta=str(tmp_path / "genome.fa"),
            valid=["b"],
            test=["c"],
            max_length=32,
            batch_size=8,
            markov_orders=[0],
            valid_windows=8,
        ),
        CaduceusConfig(d_model=16, n_layer=1, equivariant=equivariant),
        "dnamamba.objectives.masked.MaskedBases",
        train=TrainConfig(max_steps=60, global_batch_size=8, learning_rate=2e-2, validate_every=60),
        quiet=True,
    ).run()
    assert result is not None
    assert result.results["bits_per_masked_base"]["test"] < 0.7
    # A model that sees both sides is not compared with those that see one.
    assert result.results["markov_bits_per_base"] == {"valid": {}, "test": {}}
    assert "verdict" not in result.results
