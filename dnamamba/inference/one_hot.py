"""A model as a function of one-hot bases, so that gradients reach them: what attribution methods ask for.

`OneHotModel` takes what tangermeme and captum give, [B, 4, L], and answers [B, n]:

    import captum.attr
    import tangermeme.saturation_mutagenesis as tangermeme

    answer = OneHotModel(dnamamba.load("RUN"))
    captum.attr.IntegratedGradients(answer).attribute(x, target=0)
    tangermeme.saturation_mutagenesis(answer, x, dtype=torch.float32, device="cpu")
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import Alphabet, Ids, get_alphabet
from dnamamba.errors import UserError
from dnamamba.inference.answers import with_strand
from dnamamba.inference.device import need_language_model
from dnamamba.models import PositionModel, SequenceModel
from dnamamba.models.base import need
from dnamamba.models.pooling import BASES, base_table

LETTERS = "ACGT"


class OneHotModel(nn.Module):
    """Answers to sequences that are given as weights of A, C, G and T at each position.

    The embedding of a position is the weighted mean of those of the four bases, and of N's for what the
    weights lack to 1: of a one-hot position that of its base, of four zeros that of N. Every position counts
    in the pooling of a fine-tuned model.

    Args:
        model: fine-tuned: the answers are its logits, [B, C], of a regression the numbers. Pretrained and
            causal: the log-likelihood in nats of all bases but the first, [B, 1], the sum over positions and
            bases of weight * log p(base | all positions before).
        reverse: read the reverse complement; a model that averages both strands does so in any case.

    Raises:
        UserError: a masked model, whose likelihood takes a reading per base; a model that pools by the
            next base, which has no gradient; or one that answers per base or bin, which
            `place_answers.OneHotPlace` asks at a place.
    """

    bases: Tensor
    at_a_place: ClassVar[bool] = False  # whether a subclass asks models that answer per base or bin

    def __init__(self, model: Model, *, reverse: bool = False) -> None:
        super().__init__()
        self.both = False
        if isinstance(model, SequenceModel):
            if model.decoder.mode == "next":
                raise UserError(
                    "decoder.mode=next: the model pools by the next base, of which there is no gradient; use "
                    "method=ism, or a model of another mode"
                )
            self.both = model.decoder.strand == "both"
            model = with_strand(model, "forward")
        elif isinstance(model, PositionModel):
            if not self.at_a_place:
                raise UserError(
                    "model: it answers at every base or bin, not once per sequence; ask it at a place, by "
                    "dnamamba attribute"
                )
        else:
            need(need_language_model(model).backbone, ("causal",), "a likelihood of one-hot bases")
        self.model = model.eval()
        self.reverse = reverse
        alphabet = get_alphabet(model.config.alphabet)
        self.unknown = int(alphabet.n_id)
        self.register_buffer("bases", torch.from_numpy(alphabet.encode(LETTERS).astype(np.int64)))

    def forward(self, x: Tensor) -> Tensor:
        """Predict [B, n], in the parameters' precision, from weights [B, 4, L] of A, C, G and T.

        Raises:
            UserError: the weights have another shape.
        """
        if x.dim() != 3 or x.shape[1] != BASES:
            raise UserError(f"x: expected weights [B, 4, L] of A, C, G, T (got {list(x.shape)})")
        weights = x.mT.to(self.model.backbone.dtype)
        if self.both:
            return (self._answer(weights) + self._answer(turned(weights))) / 2
        return self._answer(turned(weights) if self.reverse else weights)

    def _answer(self, weights: Tensor) -> Tensor:
        """Return the prediction of one strand, from weights [B, L, 4]."""
        # The ids stand for known bases; what is read of them is the weights.
        tokens = self.bases[0].expand(weights.shape[:2])
        with self._embedded(weights):
            if isinstance(self.model, SequenceModel):
                return self.model(tokens)
            logits = self.model(tokens).logits
        log_p = logits.log_softmax(-1)[:, :-1, self.bases]
        return (weights[:, 1:] * log_p).sum((1, 2))[:, None]

    @contextmanager
    def _embedded(self, weights: Tensor) -> Iterator[None]:
        """Give a backbone these weights instead of tokens.

        A model of both strands embeds rows and their reverse complements together, perhaps twice over: of
        blocks of B rows those whose number has an odd number of binary ones are turned. One that answers per
        position embeds the reverse complements by themselves, after the rows.
        """
        table = self.model.backbone.embedding
        if not isinstance(table, nn.Embedding):
            raise UserError(
                f"the family {self.model.config.family} embeds by {type(table).__name__}, not by a table: "
                "it has no one-hot input; use method=ism"
            )
        both = weights, turned(weights)
        alone = isinstance(self.model, PositionModel)
        calls = count()

        def embed(module: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
            blocks, first = given[0].shape[0] // len(weights), next(calls) if alone else 0
            rows = torch.cat([both[(first + block.bit_count()) % 2] for block in range(blocks)])
            vectors = table.weight[self.bases]
            return rows @ vectors + (1 - rows.sum(-1, keepdim=True)) * table.weight[self.unknown]

        handle = table.register_forward_hook(embed)
        try:
            yield
        finally:
            handle.remove()


def turned(weights: Tensor) -> Tensor:
    """Return weights [B, L, 4] of the reverse complement: A, C, G, T reversed are their complements."""
    return weights.flip(1, 2)


def replacements(base: int, alphabet: Alphabet) -> tuple[NDArray[np.int64], Ids]:
    """Return which of A, C, G and T a base may be replaced by, and their ids in the case of the base.

    Of what is not a base there are none.

    Args:
        base: an id.
        alphabet: of the ids; that of bytes has each base in two cases.
    """
    for letters in (LETTERS, LETTERS.lower()):
        ids = alphabet.encode(letters)
        if base in ids:
            others = np.flatnonzero(ids != base)
            return others, ids[others]
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)


def need_one_hot(ids: Ids, alphabet: Alphabet, record: str, first: int) -> None:
    """Refuse letters that one-hot bases can't tell from others: an answer would be that to another sequence.

    Args:
        ids: uint8 [L].
        alphabet: of the ids; that of bytes has each base in two cases, and codes of several bases.
        record: where they are from, for the message.
        first: the position of the first of them there, from 0.

    Raises:
        UserError: naming the first such letter.
    """
    bases = base_table(alphabet.name).numpy()[ids]
    told = np.append(alphabet.encode(LETTERS), alphabet.n_id)[np.minimum(bases, BASES)]
    other = np.flatnonzero(told != ids)
    if other.size:
        raise UserError(
            f"{record}:{first + other[0] + 1}: one-hot bases are A, C, G, T and N in upper case (got "
            f"{alphabet.decode(ids[other[:1]])!r}, alphabet {alphabet.name!r}); use method=ism, or write the "
            "FASTA in upper case"
        )


def one_hot_of(ids: Ids, alphabet: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Encode ids [L] as one-hot bases [1, 4, L]; anything but A, C, G, T is four zeros.

    Args:
        ids: uint8 [L].
        alphabet: of the ids, by name.
        dtype: of the result.
    """
    bases = base_table(alphabet).numpy()[ids]
    return torch.from_numpy(bases[None] == np.arange(BASES)[:, None])[None].to(dtype)
