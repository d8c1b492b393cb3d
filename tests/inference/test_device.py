"""What a fine-tuned model is not asked: it has no probabilities of bases."""

from collections.abc import Callable
from typing import Any

import pytest

import dnamamba
from dnamamba import MambaConfig, SequenceModel, UserError
from dnamamba.models import DecoderConfig


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: dnamamba.generate(model, "ACGT", 20),
        lambda model: dnamamba.tracks(model, ["ACGT"]),
    ],
    ids=["generate", "tracks"],
)
def test_a_fine_tuned_model_is_refused(ask: Callable[[SequenceModel], Any]) -> None:
    model = SequenceModel(MambaConfig(8, 1), DecoderConfig("classification", ("a", "b")))
    with pytest.raises(
        UserError, match=r"^this is a fine-tuned model without probabilities of bases: give a pretrained one$"
    ):
        ask(model)
