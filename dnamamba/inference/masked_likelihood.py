"""Pseudo-likelihood: how likely a masked model finds a base, masked itself, among all the others."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnamamba.data.alphabet import Ids
from dnamamba.inference.likelihood import Floats, Likelihood, View
from dnamamba.kernels.exact import exact
from dnamamba.models.pooling import UNKNOWN, part

STRIDE = 8  # bases from one mask to the next: an eighth is masked at a time, as in training about a seventh


class MaskedLikelihood(Likelihood):
    """Every known base is predicted from both sides, while it is masked.

    Of a sequence, `bases` masks every eighth base at a time, so that eight readings tell all. Of an allele
    each base is masked alone, and the flanks' bases are not asked: of a substitution of one base it is the
    ratio of two probabilities in one prediction.
    """

    needs = ("masked",)

    def bases(self, ids: Ids, *, reverse: bool = False) -> Iterator[tuple[int, int, Floats]]:
        """See `Likelihood.bases`; the first base is predicted too, and everything comes at once."""
        length = ids.size
        if length == 0:
            return
        self.reader.need_length(length, "a sequence", "give shorter sequences")
        read = self.reader.alphabet.reverse_complement(ids) if reverse else ids
        offsets = np.arange(min(STRIDE, length))
        masks = (np.arange(length) - offsets[:, None]) % STRIDE == 0
        values = np.full((2, length), math.nan, dtype=np.float32)
        each = max(1, self.reader.piece // length)
        for first in range(0, len(masks), each):
            some = masks[first : first + each]
            log_p = self._told(np.broadcast_to(read, some.shape), some)
            place = some.nonzero()[1]
            base = torch.from_numpy(read[place].astype(np.int64)).to(log_p.device)
            likelihood = log_p.gather(1, base[:, None])[:, 0]
            entropy = -(log_p.exp() * log_p).sum(1)
            values[:, place] = (torch.stack([likelihood, entropy]) / math.log(2)).float().cpu().numpy()
        values[:, self._unknown(read)] = math.nan
        yield 0, length, values[:, ::-1] if reverse else values

    def alleles(self, views: Sequence[View]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Likelihood.alleles`; what is the same for several alleles is read once."""
        asked: dict[tuple[bytes, int], int] = {}  # sequence with its mask, and the mask's place
        rows: list[Ids] = []
        terms: list[list[tuple[int, int]]] = []  # of each allele: which prediction, of which base
        whole: list[Ids] = []
        for before, alleles, after in views:
            for allele in alleles:
                sequence = np.concatenate([before, allele, after])
                whole.append(sequence)
                terms.append([])
                for i in np.flatnonzero(~self._unknown(allele)):
                    place = len(before) + int(i)
                    masked = sequence.copy()
                    masked[place] = self.reader.alphabet.mask_id
                    number = asked.setdefault((masked.tobytes(), place), len(rows))
                    if number == len(rows):
                        rows.append(masked)
                    terms[-1].append((number, int(allele[i])))
        told = self._each(rows, [place for _, place in asked])
        likelihood = np.array([sum(told[number, base] for number, base in each) for each in terms])
        return likelihood.astype(np.float64), self._embeddings(whole)

    def _each(self, rows: Sequence[Ids], places: Sequence[int]) -> NDArray[np.float64]:
        """Return log-probabilities [rows, V] at the masked place of each row."""
        made = np.zeros((len(rows), self.reader.config.padded_vocab_size))
        for some in self._alike(rows):
            tokens = np.stack([rows[i] for i in some])
            masks = np.zeros(tokens.shape, dtype=bool)
            masks[np.arange(len(some)), [places[i] for i in some]] = True
            made[some] = exact(self._told(tokens, masks)).cpu().numpy()
        return made

    def _embeddings(self, rows: Sequence[Ids]) -> NDArray[np.float64]:
        """Return mean final hidden states [rows, D] at the known bases of each row, nothing masked."""
        made = np.zeros((len(rows), self.reader.config.width))
        for some in self._alike(rows):
            tokens = self.reader.to_device(np.stack([rows[i] for i in some]))
            hidden, _ = self.reader.hidden(tokens)
            total, count = part("mean", hidden, self._bases[tokens.int()])
            made[some] = (exact(total) / exact(count.clamp(min=1))[:, None]).cpu().numpy()
        return made

    def _alike(self, rows: Sequence[Ids]) -> Iterator[list[int]]:
        """Yield the numbers of rows with one length, as many as are read together: none may read padding."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        some: list[int] = []
        for i in order:
            length = len(rows[i])
            if some and (length != len(rows[some[0]]) or (len(some) + 1) * length > self.reader.piece):
                yield some
                some = []
            some.append(i)
        if some:
            yield some

    @torch.no_grad()
    def _told(self, tokens: Ids, masks: NDArray[np.bool_]) -> Tensor:
        """Return log-probabilities [masks, V] at the masked places of tokens [rows, L], row after row."""
        masked = self.reader.to_device(np.where(masks, np.uint8(self.reader.alphabet.mask_id), tokens))
        hidden, _ = self.reader.hidden(masked)
        return self.reader.unembed(hidden[torch.from_numpy(masks).to(hidden.device)]).log_softmax(-1)

    def _unknown(self, ids: Ids) -> NDArray[np.bool_]:
        return (self._bases.cpu().numpy() == UNKNOWN)[ids]
