"""What a fine-tuned model is not asked: it has no probabilities of bases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dnamamba
from dnamamba import Genome, MambaConfig, SequenceModel, UserError, get_alphabet
from dnamamba.models import DecoderConfig


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, genome: dnamamba.generate(model, "ACGT", 20),
        lambda model, genome: dnamamba.tracks(model, ["ACGT"]),
        lambda model, genome: dnamamba.score_variants(model, genome, [("one", 10, "A", "C")]),
    ],
    ids=["generate", "tracks", "score_variants"],
)
def test_a_fine_tuned_model_is_refused(ask: Callable[[SequenceModel, Genome], Any], genome: Path) -> None:
    model = SequenceModel(MambaConfig(8, 1), DecoderConfig("classification", ("a", "b")))
    with pytest.raises(
        UserError, match=r"^this is a fine-tuned model without probabilities of bases: give a pretrained one$"
    ):
        ask(model, Genome(genome, get_alphabet("dna")))
