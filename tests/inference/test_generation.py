"""Generation draws from the parallel forward's distribution, step by step, from a seed."""

import re
from typing import Any

import numpy as np
import pytest
import torch

import dnamamba.inference.generation as generation
from dnamamba import LanguageModel, MambaConfig, UserError, get_alphabet
from dnamamba.inference.generation import BLOCK, drawable, encode_prompt, generate, generate_blocks, row_seeds
from dnamamba.inference.sampling import Sampling, gumbel


def build(alphabet: str = "dna") -> LanguageModel:
    torch.manual_seed(0)
    size = get_alphabet(alphabet).size
    model = LanguageModel(MambaConfig(d_model=16, n_layer=2, alphabet=alphabet, vocab_size=size))
    # Logits that matter; with those of the initialisation all bases are as likely.
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.1)
    return model.double()


DNA = get_alphabet("dna")
MODEL = build()


def by_the_parallel_forward(
    prompts: list[str], length: int, sampling: Sampling, seed: int, batch: int
) -> list[str]:
    """The definition: a forward of all that is there, one draw, and again."""
    alphabet = get_alphabet("dna")
    rows = [alphabet.encode(prompt) for prompt in prompts for _ in range(batch)]
    seeds = row_seeds(seed, [alphabet.encode(prompt) for prompt in prompts], batch)
    generators = [torch.Generator().manual_seed(one) for one in seeds]
    allowed = torch.tensor([True] * 4 + [False] * 4)
    made = np.zeros((len(rows), 0), dtype=np.uint8)
    for position in range(length):
        if position % BLOCK == 0:
            noise = torch.cat([gumbel((BLOCK, 1, 8), generator) for generator in generators], 1)
        with torch.no_grad():
            logits = torch.cat(
                [
                    MODEL(torch.from_numpy(np.append(row, more))[None]).logits[:, -1]
                    for row, more in zip(rows, made, strict=True)
                ]
            )
        drawn = sampling.draw(logits, allowed, noise[position % BLOCK])
        made = np.concatenate([made, drawn.numpy()[:, None].astype(np.uint8)], axis=1)
    return [alphabet.decode(row) for row in made]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7, top_k=3), Sampling(0), Sampling(1.5, top_p=0.9)]
)
def test_it_equals_the_parallel_forward(sampling: Sampling) -> None:
    prompts, length = ["ACGTTGCAN", "TTTTTTTTTTTTTTTA"], BLOCK + 6
    found = generate(
        MODEL,
        prompts,
        length,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=5,
        batch=2,
    )
    assert found == by_the_parallel_forward(prompts, length, sampling, 5, 2)


def test_a_long_prompt_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = "ACGTTGCATGCCA" * 9
    whole = generate(MODEL, prompt, 40)
    monkeypatch.setattr(generation, "PROMPT_PIECE", 10)
    assert generate(MODEL, prompt, 40) == whole


def test_shorter_run_of_seed_gives_their_beginning() -> None:
    first = generate(MODEL, "ACG", 150, seed=1, batch=3)
    assert first == generate(MODEL, "ACG", 150, seed=1, batch=3)
    assert [row[:70] for row in first] == generate(MODEL, "ACG", 70, seed=1, batch=3)
    assert len({*first, *generate(MODEL, "ACG", 150, seed=2, batch=3)}) == 6


def test_seed_is_mixed_with_prompt_and_copy() -> None:
    a, b = DNA.encode("ACGT"), DNA.encode("ACGA")
    assert len({*row_seeds(0, [a, b, a], 3), *row_seeds(1, [a, b], 3)}) == 15
    assert row_seeds(7, [b, a], 2)[2:] == row_seeds(7, [a], 2)
    assert row_seeds(7, [a, a], 1) == row_seeds(7, [a], 2)
    assert all(0 <= seed < 2**63 for seed in row_seeds(2**63 - 1, [a, b], 50))
    # A model that knows nothing draws its noise: two prompts agree by chance, in a quarter of the bases.
    flat = LanguageModel(MambaConfig(d_model=8, n_layer=1))
    torch.nn.init.zeros_(flat.backbone.embedding.weight)
    one, other = (generate(flat, prompt, 2000)[0] for prompt in ("ACGT", "ACGA"))
    assert 0.2 < sum(x == y for x, y in zip(one, other, strict=True)) / 2000 < 0.3


def test_numpy_integers_are_seeds() -> None:
    assert generate(MODEL, "ACG", 30, seed=np.int64(3)) == generate(MODEL, "ACG", 30, seed=3)


def test_only_letters_of_bases_are_drawn() -> None:
    assert drawable(get_alphabet("dna")).tolist() == [0, 1, 2, 3]
    assert get_alphabet("bytes").decode(drawable(get_alphabet("bytes"))) == (
        "ABCDEFGHIJKLMOPQRSTUVWXYZabcdefghijklmopqrstuvwxyz"
    )
    assert set("".join(generate(MODEL, "N" * 20, 500, temperature=100.0))) == set("ACGT")
    letters = "".join(generate(build("bytes"), "ACGN", 300, temperature=100.0))
    assert letters.isalpha()
    assert "n" not in letters.lower()


def test_memory_of_step_is_that_of_loop() -> None:
    """Every block is made in the same tensors: nothing is kept of the sequence."""
    loop = generation.SamplingLoop(MODEL, 1, Sampling(), 0)
    loop.start([generation.read_prompt(MODEL, encode_prompt("ACG", get_alphabet("dna")))], 1)
    before = {name: t.data_ptr() for name, t in vars(loop).items() if isinstance(t, torch.Tensor)}
    assert not np.array_equal(loop.block(), loop.block())
    assert {name: t.data_ptr() for name, t in vars(loop).items() if isinstance(t, torch.Tensor)} == before


@pytest.mark.parametrize(
    ("prompt", "length", "batch", "seed", "message"),
    [
        ("", 5, 1, 0, "the prompt is empty"),
        ("AC→G", 5, 1, 0, "prompt: '→' at position 3 is not a nucleotide code"),
        ("ACGJ", 5, 1, 0, "prompt: 'J' at position 4 is not a nucleotide code"),
        ("ACG\n", 5, 1, 0, r"prompt: '\\n' at position 4"),
        ("ACG", 0, 1, 0, r"length: must be at least 1 \(got 0\)"),
        ("ACG", 5, 0, 0, r"batch: must be at least 1 \(got 0\)"),
        (
            "ACG",
            10**20,
            1,
            0,
            r"length: at most 4,294,967,296 letters in a run, .* \(got 100,000,000,000,000",
        ),
        ("ACG", 2**17, 2**16, 0, r"length: at most 4,294,967,296 letters in a run"),
        (["A", "C"], 5, 2**18, 0, r"batch: at most 262,144 sequences in a run \(got 524,288, of 2 prompt"),
        ([], 5, 1, 0, r"prompts: must be at least 1 \(got 0\)"),
        ("ACG", 5, 1, -1, "seed: must lie between 0 and"),
        ("ACG", 5, 1, 0.5, r"seed: must be a whole number \(got 0\.5\)"),
    ],
)
def test_a_mistake_is_one_line(prompt: str, length: int, batch: int, seed: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        generate(MODEL, prompt, length, batch=batch, seed=seed)
    assert "\n" not in str(error.value)


def test_prompt_may_hold_what_fasta_file_may() -> None:
    dna = get_alphabet("dna")
    assert dna.decode(encode_prompt("ACGTUNRx-.*", dna)) == "ACGTTNNNNNN"


def test_blocks_come_one_after_the_other() -> None:
    prompts = [encode_prompt("ACG", get_alphabet("dna"))]
    widths = [block.shape for block in generate_blocks(MODEL, prompts, 2 * BLOCK + 3, Sampling(), 0, 2)]
    assert widths == [(2, BLOCK), (2, BLOCK), (2, 3)]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ([b"ACGT"], "b'ACGT'"),
        (["ACGT", None], "None"),
        ([np.zeros(1)], "array([0.])"),
        (None, "None"),
        (7, "7"),
    ],
)
def test_prompt_that_is_not_letters_is_refused(prompt: Any, shown: str) -> None:
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1))
    with pytest.raises(
        UserError, match=rf"^prompt: must be letters, or a list of such \(got {re.escape(shown)}\)$"
    ):
        generate(model, prompt, 3)
