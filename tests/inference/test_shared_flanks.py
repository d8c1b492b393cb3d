"""Variants of a cell share what lies before it: the same scores as alone, from fewer bases read."""

import numpy as np
import pytest
import torch

from dnamamba import Genome, LanguageModel
from dnamamba.inference import effects as effects_module
from dnamamba.inference import likelihood as likelihood_module
from dnamamba.inference.variants import score_variants

from .test_variants import LENGTH, naive, variants_at
from .test_variants import genome as genome  # fixtures
from .test_variants import model as model
from .test_variants import text as text


@pytest.mark.parametrize(("share", "strand"), [(16, "both"), (7, "reverse"), (1000, "forward")])
def test_variants_of_a_cell_have_the_flanks_of_the_cell(
    model: LanguageModel, genome: Genome, text: str, share: int, strand: str
) -> None:
    variants = variants_at(text, [1, 2, 60, 62, 63, 64, 110, LENGTH - 3])
    found = score_variants(model, genome, variants, window=64, strand=strand, share=share)
    expected = []
    for name, position, ref, alt in variants:
        # The same variant, spelled from the first base of its cell to the last.
        first = (position - 1) // share * share
        last = max(position - 1 + len(ref), min(first + share, LENGTH))
        before, after = text[first : position - 1], text[position - 1 + len(ref) : last]
        spelled = (name, first + 1, before + ref + after, before + alt + after)
        expected.append(naive(model, text, spelled, 64, (0,), strand))
    np.testing.assert_allclose(found, np.array(expected).T, rtol=1e-9, atol=1e-10)


def test_a_dense_cell_is_read_in_parts_that_memory_holds(
    model: LanguageModel, genome: Genome, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = variants_at(text, [33, 40, 47])
    expected = score_variants(model, genome, variants, window=64, share=16)
    monkeypatch.setattr(effects_module, "SHORTEST_PIECE", 50)
    rows: list[int] = []
    forward = type(model.backbone).forward

    def counting(self: torch.nn.Module, tokens: torch.Tensor, *args: object, **kwargs: object) -> object:
        rows.append(len(tokens))
        return forward(self, tokens, *args, **kwargs)

    monkeypatch.setattr(type(model.backbone), "forward", counting)
    found = score_variants(model, genome, variants, window=64, share=16, bases_per_batch=400)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert max(rows) == 8  # of 400 bases in pieces of 50


def test_a_score_does_not_depend_on_the_neighbours(model: LanguageModel, genome: Genome, text: str) -> None:
    variants = variants_at(text, [60, 64, 110])
    together = score_variants(model, genome, variants, window=64, share=16)
    alone = [score_variants(model, genome, [variant], window=64, share=16) for variant in variants]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), rtol=1e-9, atol=1e-12)


def test_a_cell_is_read_once_for_all_its_variants(
    model: LanguageModel, genome: Genome, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [("chr1", i + 1, text[i], "ACGT".replace(text[i], "")[0]) for i in range(32, 48)]
    read: list[int] = []
    forward = type(model.backbone).forward

    def counting(self: torch.nn.Module, tokens: torch.Tensor, *args: object, **kwargs: object) -> object:
        read.append(tokens.numel())
        return forward(self, tokens, *args, **kwargs)

    monkeypatch.setattr(type(model.backbone), "forward", counting)
    score_variants(model, genome, variants, window=64, strand="forward", share=16)
    # One flank of 32 bases, then 17 alleles of the cell's 16 bases and the 31 after it.
    assert sum(read) == 32 + 17 * (16 + 31)


def test_many_rows_are_read_in_short_pieces_and_long_alleles_apart(
    model: LanguageModel, genome: Genome, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [("chr1", i + 1, text[i], "ACGT".replace(text[i], "")[0]) for i in range(300, 332, 4)]
    variants.insert(4, ("chr1", 315, text[314], text[314] + "ACGT" * 50))
    expected = score_variants(model, genome, variants, window=64, strand="forward")
    monkeypatch.setattr(likelihood_module, "SHORTEST_PIECE", 16)
    monkeypatch.setattr(effects_module, "PIECE", 16)
    shapes: list[tuple[int, ...]] = []
    forward = type(model.backbone).forward

    def counting(self: torch.nn.Module, tokens: torch.Tensor, *args: object, **kwargs: object) -> object:
        shapes.append(tuple(tokens.shape))
        return forward(self, tokens, *args, **kwargs)

    monkeypatch.setattr(type(model.backbone), "forward", counting)
    found = score_variants(model, genome, variants, window=64, strand="forward", bases_per_batch=256)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    # Eight flanks of 32 bases and 16 tails of 32, 256 bases at once; then the insertion: 32, and two of 232.
    insertion = [(1, 32), (2, 128), (2, 104)]
    assert shapes == [(8, 32), (16, 16), (16, 16), *insertion]
