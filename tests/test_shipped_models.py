"""The models of docs/models: whole, and worth having."""

import math
import random
from pathlib import Path

import pytest
import torch

import dnamamba

MODELS = sorted((Path(__file__).parent.parent / "docs" / "models").iterdir())
# AluY (consensus, with a short poly(A) tail), the most numerous young repeat of the human genome.
ALU = (
    "GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACGAGGTCAGGAGATCGAGACCATCCCGGCTAAAACGG"
    "TGAAACCCCGTCTCTACTAAAAATACAAAAAATTAGCCGGGCGTGGTGGCGGGCGCCTGTAGTCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATGGCGT"
    "GAACCCGGGAGGCGGAGCTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTCAAAAAAA"
)


def bits_per_base(model: dnamamba.LanguageModel, letters: str) -> float:
    tokens = torch.from_numpy(dnamamba.get_alphabet("dna").encode(letters))[None]
    with torch.no_grad():
        predicted = model(tokens).logits[0, :-1].log_softmax(-1)
    return -float(predicted.gather(1, tokens[0, 1:, None].long()).mean()) / math.log(2)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_human_model_predicts_its_most_common_repeat(path: Path) -> None:
    model = dnamamba.load(path)
    assert sum(weight.numel() for weight in model.parameters()) == 1_400_448
    shuffled = "".join(random.Random(0).sample(ALU, len(ALU)))
    assert bits_per_base(model, ALU) < 0.15
    assert bits_per_base(model, shuffled) > 1.9
