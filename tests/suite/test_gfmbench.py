"""The five methods of GFMBench-api, by value; the package itself is not needed."""

import numpy as np
import pytest
import torch

from dnamamba import DecoderConfig, LanguageModel, MambaConfig, SequenceModel, UserError, get_alphabet
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.suite.gfmbench import GfmModel

SEQUENCES = ["ACGTN", "GGA"]
SHAPE = MambaConfig(d_model=8, n_layer=1)


def tokens(letters: str) -> torch.Tensor:
    return torch.from_numpy(get_alphabet("dna").encode(letters).astype(np.int64))[None]


def test_pretrained_model_tells_each_base_from_those_before() -> None:
    torch.manual_seed(0)
    model = LanguageModel(SHAPE).eval()
    shares, hidden, means = GfmModel(model).infer_sequence_to_sequence(SEQUENCES)
    assert shares is not None
    assert hidden is not None
    assert means is not None
    with torch.no_grad():
        for row, letters in enumerate(SEQUENCES):
            read = tokens(letters)
            p = model(read).logits.softmax(-1)[0, :-1].gather(1, read[0, 1:, None])[:, 0].tolist()
            known = letters.replace("N", "")
            expected = [1.0, *p[: len(known) - 1], *[1.0] * (5 - len(known))]
            np.testing.assert_allclose(shares[row], expected, rtol=1e-5)
            states = model.backbone(read).hidden[0].numpy()
            np.testing.assert_allclose(hidden[row, : len(letters)], states, rtol=1e-5, atol=1e-6)
            assert (hidden[row, len(letters) :] == 0).all()
            np.testing.assert_allclose(means[row], states[: len(known)].mean(0), rtol=1e-5, atol=1e-6)
    adaptor = GfmModel(model)
    assert adaptor.sequence_pos_to_prob_pos(SEQUENCES, 3).tolist() == [3, -1]
    assert adaptor.infer_sequence_to_labels_probs(SEQUENCES) is None
    assert adaptor.infer_variant_ref_sequences_to_labels_probs(SEQUENCES, SEQUENCES) is None
    assert adaptor.infer_masked_sequence_to_token_probs(SEQUENCES, 1, ["A", "A"], ["C", "G"]) == (None, None)


def test_fine_tuned_model_answers_sequences_and_pairs() -> None:
    torch.manual_seed(0)
    model = SequenceModel(SHAPE, DecoderConfig("classification", ("a", "b"), "mean")).eval()
    adaptor = GfmModel(model)
    with torch.no_grad():
        logits = torch.cat([model(tokens(letters)) for letters in SEQUENCES]).double()
        other = model(tokens("ACGA")).double()
    found = adaptor.infer_sequence_to_labels_probs(SEQUENCES, np.zeros((2, 0)))
    np.testing.assert_allclose(found, logits.softmax(-1).numpy(), rtol=1e-6)
    pairs = adaptor.infer_variant_ref_sequences_to_labels_probs(SEQUENCES, ["ACGA", "ACGA"])
    np.testing.assert_allclose(pairs, (logits - other).softmax(-1).numpy(), rtol=1e-6)
    assert adaptor.infer_sequence_to_labels_probs(SEQUENCES, np.zeros((2, 1))) is None
    shares, hidden, _ = adaptor.infer_sequence_to_sequence(SEQUENCES)
    assert shares is None
    assert hidden is not None


def test_masked_model_tells_a_base_that_it_does_not_see() -> None:
    torch.manual_seed(0)
    model = LanguageModel(CaduceusConfig(d_model=8, n_layer=1)).eval()
    adaptor = GfmModel(model)
    found, reference = adaptor.infer_masked_sequence_to_token_probs(["ACG", "TTG"], 1, ["A", "G"], ["C", "T"])
    assert found is not None
    assert reference is not None
    with torch.no_grad():
        for row, letters in enumerate(["ACG", "TTG"]):
            asked = tokens(letters)
            asked[0, 1] = get_alphabet("dna").mask_id
            shares = model(asked).logits[0, 1].softmax(-1).tolist()
            assert found[row] == pytest.approx(shares[[0, 2][row]], rel=1e-6)
            assert reference[row] == pytest.approx(shares[[1, 3][row]], rel=1e-6)
    with pytest.raises(UserError, match=r"variant_pos: sequence 0 has 3 bases \(got 3\)"):
        adaptor.infer_masked_sequence_to_token_probs(["ACG"], 3, ["A"], ["C"])
