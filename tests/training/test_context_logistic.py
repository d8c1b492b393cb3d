"""The logistic regression of the bases around a base, which annotation is compared with."""

import numpy as np
import torch

from dnamamba.training.fits.context import fit_context


def test_records_that_lack_a_class_are_fitted_too() -> None:
    """Class 1 is that of bases after an A; one training record, and all of validation, have none."""
    bases = np.random.default_rng(0).integers(0, 4, 600).astype(np.uint8)
    after_a = np.concatenate(([0], bases[:-1] == 0)).astype(np.uint8)
    no_a = np.maximum(bases, 1)
    nothing = np.zeros_like(bases)
    model = fit_context([(bases, after_a), (no_a, nothing)], [(no_a, nothing)], 2)
    assert torch.equal(model.logits(bases).argmax(1), torch.from_numpy(after_a).long())
