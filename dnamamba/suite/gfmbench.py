"""A model as GFMBench-api asks for it: five methods of lists of sequences, answered in NumPy.

    from dnamamba.suite.gfmbench import GfmModel
    from gfmbench_api.tasks.concrete import BRCA1Task  # the package is not needed here

    BRCA1Task("data").eval_test_set(GfmModel("RUN", device="cuda"))

A method that a model has no answer to gives None, and the metrics that need it are skipped.

Source: NVIDIA/GFMBench-api, gfmbench_api/tasks/base/base_gfm_model.py of 2026-04-28.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.checkpoint import Model, load
from dnamamba.data.alphabet import Ids, get_alphabet
from dnamamba.errors import UserError
from dnamamba.inference.answers import Answers
from dnamamba.inference.likelihood import likelihood
from dnamamba.inference.streaming import Reader
from dnamamba.models import LanguageModel, SequenceModel
from dnamamba.models.pooling import BASES, base_table

Floats = NDArray[np.float64]
Conditions = NDArray[np.float64] | None


class GfmModel:
    """The five methods; a class needs no base to be one of GFMBench-api's models.

    Args:
        model: pretrained or fine-tuned, or where it lies.
        device: where it runs.
        precision: of the matrix products, see `dnamamba.inference.device.precision_of`.
    """

    def __init__(self, model: Model | str | Path, device: str = "cpu", precision: str = "fp32") -> None:
        found = load(model) if isinstance(model, str | Path) else model
        self.model: Model = found.to(device).eval()
        self.alphabet = get_alphabet(self.model.config.alphabet)
        self._bases = base_table(self.alphabet.name).numpy()
        self._answers: Answers | None = None
        self._reader: Reader | None = None
        if isinstance(self.model, SequenceModel):
            self._answers = Answers(self.model, precision=precision)
        else:
            self._reader = Reader(self.model, precision=precision)

    def infer_sequence_to_labels_probs(
        self, sequences: list[str], conditional_input: Conditions = None
    ) -> Floats | None:
        """Return what a fine-tuned model predicts, [B, C]: probabilities, of a regression the numbers.

        Args:
            sequences: of DNA.
            conditional_input: numbers next to each sequence, [B, n]; with any the answer is None.
        """
        if self._answers is None or _conditioned(conditional_input):
            return None
        return self._predicted(self._logits(sequences))

    def infer_variant_ref_sequences_to_labels_probs(
        self, variant_sequences: list[str], ref_sequences: list[str], conditional_input: Conditions = None
    ) -> Floats | None:
        """Return the probabilities [B, C] of a fine-tuned model's logits of the variant less the reference's.

        Args:
            variant_sequences, ref_sequences: pairs.
            conditional_input: as above.
        """
        if self._answers is None or _conditioned(conditional_input):
            return None
        if self._answers.head.reads == "number":
            return None
        return self._predicted(self._logits(variant_sequences) - self._logits(ref_sequences))

    def infer_sequence_to_sequence(
        self, sequences: list[str], conditional_input: Conditions = None
    ) -> tuple[Floats | None, Floats | None, Floats | None]:
        """Return probabilities [B, L], hidden states [B, L, D] and their means [B, D].

        A probability is that of the base that is there, given what a causal model has read before it and a
        masked one around it; 1 where nothing is predicted: of a causal model's first base, N, and behind the
        end of a shorter sequence, where hidden states are 0. The mean is over the bases A, C, G and T.

        Args:
            sequences: of DNA.
            conditional_input: is not read.
        """
        longest = max(map(len, sequences))
        width = self.model.config.width
        hidden, means = np.zeros((len(sequences), longest, width)), np.zeros((len(sequences), width))
        probabilities = None if self._reader is None else np.ones((len(sequences), longest))
        reader = self._reader or Reader(self.model, precision="fp32")
        for row, ids in enumerate(map(self.alphabet.encode, sequences)):
            reader.need_length(ids.size, f"sequence {row}", "give shorter sequences")
            for start, end, _, states in reader.stream(ids):
                hidden[row, start:end] = states[0].double().cpu().numpy()
            known = self._bases[ids] < BASES
            means[row] = hidden[row, : ids.size][known].mean(0) if known.any() else 0
            if probabilities is not None and self._reader is not None:
                for start, end, values in likelihood(self._reader, "GFMBench-api").bases(ids):
                    probabilities[row, start:end] = np.exp2(np.nan_to_num(values[0].astype(np.float64)))
        return probabilities, hidden, means

    def sequence_pos_to_prob_pos(self, sequences: list[str], pos: int) -> NDArray[np.int64]:
        """Return the place of a base in the outputs, [B]: its own; -1 where a sequence is shorter."""
        return np.array([pos if 0 <= pos < len(sequence) else -1 for sequence in sequences])

    @torch.no_grad()
    def infer_masked_sequence_to_token_probs(
        self,
        sequences: list[str],
        variant_pos: int,
        variant_letters: list[str],
        reference_letters: list[str],
        conditional_input: Conditions = None,
    ) -> tuple[Floats | None, Floats | None]:
        """Return a masked model's probabilities [B] of two letters at a place that it does not see.

        Args:
            sequences: of DNA.
            variant_pos: the place, from 0.
            variant_letters, reference_letters: of each sequence.
            conditional_input: is not read.

        Raises:
            UserError: the place is outside a sequence.
        """
        if not isinstance(self.model, LanguageModel) or not self.model.backbone.masked:
            return None, None
        found = np.empty((2, len(sequences)))
        for row, ids in enumerate(map(self.alphabet.encode, sequences)):
            if not 0 <= variant_pos < ids.size:
                raise UserError(f"variant_pos: sequence {row} has {ids.size:,} bases (got {variant_pos})")
            asked = np.array(ids)
            asked[variant_pos] = self.alphabet.mask_id
            tokens = torch.from_numpy(asked)[None].to(self.model.backbone.device)
            shares = self.model(tokens).logits[0, variant_pos].double().softmax(-1).cpu().numpy()
            letters = self.alphabet.encode(variant_letters[row] + reference_letters[row])
            found[:, row] = shares[letters]
        return found[0], found[1]

    def _logits(self, sequences: list[str]) -> Floats:
        assert self._answers is not None
        named: list[tuple[int, Ids]] = list(enumerate(map(self.alphabet.encode, sequences)))
        return np.concatenate([logits for _, logits in self._answers.logits(named)])

    def _predicted(self, logits: Floats) -> Floats:
        assert self._answers is not None
        return self._answers.head.predict(torch.from_numpy(logits)).numpy()


def _conditioned(conditions: Conditions) -> bool:
    return conditions is not None and np.asarray(conditions).size > 0
