"""Scores on a GPU are those of the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import Genome, LanguageModel, MambaConfig, get_alphabet, score_variants

pytestmark = pytest.mark.gpu


def test_scores_are_those_of_the_cpu(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=64, n_layer=3))
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.1)
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 3000))
    (tmp_path / "genome.fa").write_text(f">chr1\n{text}\n")
    genome = Genome(tmp_path / "genome.fa", get_alphabet("dna"))
    variants = []
    for place in (1, 40, 1500, 1501, 2990, 3000):
        ref = text[place - 1]
        variants += [("chr1", place, ref, alt) for alt in ("ACGT".replace(ref, "")[0], ref + "TTG", "GGGGGG")]
    expected = score_variants(model.double(), genome, variants, window=600)
    for budget in (None, 900):
        found = score_variants(model.float().cuda(), genome, variants, window=600, bases_per_batch=budget)
        np.testing.assert_allclose(found.llr, expected.llr, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-3, atol=1e-5)
