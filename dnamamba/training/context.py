"""One sequence over several processes: the mesh of data and context, and which part each process reads.

Processes are numbered so that those of one sequence are neighbours. Each is given whole samples and reads its
part of them; `dnamamba.kernels.ranks` has what crosses the borders, and a loss is the sum over the parts.
"""

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from dnamamba.data.length_schedule import Stage
from dnamamba.errors import UserError
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.base import Backbone, need
from dnamamba.objectives.base import Batch, Chunks, Objective


def ranks_of_context(size: int, processes: int, device: str) -> Ranks:
    """Return the `size` processes that read a sequence with this one; every process of the run asks at once.

    Args:
        size: processes of a sequence.
        processes: of the run, a multiple of `size`.
        device: `cuda` or `cpu`.
    """
    mesh = init_device_mesh(device, (processes // size, size), mesh_dim_names=("data", "context"))
    return Ranks(mesh["context"].get_group())


def even_batch(batch: Batch, size: int, pad_id: int) -> Batch:
    """Return the same batch with `tokens` [B, L + 1] padded on the right until `size` divides L.

    Args:
        batch: with `tokens` [B, L + 1].
        size: ranks of a sequence.
        pad_id: id of the padding.
    """
    tokens = batch["tokens"]
    missing = (1 - tokens.shape[1]) % size
    return {**batch, "tokens": F.pad(tokens, (0, missing), value=pad_id)} if missing else batch


def batch_part(batch: Batch, ranks: Ranks) -> Batch:
    """Return the same batch with this rank's part of its `tokens`: [B, L / ranks + 1] of [B, L + 1].

    The base after a part is the target of its last one, and the first base of the next part.
    """
    tokens = batch["tokens"]
    part = (tokens.shape[1] - 1) // ranks.size
    start = ranks.rank * part
    return {**batch, "tokens": tokens[:, start : start + part + 1]}


def check_context(
    size: int, backbone: Backbone, objective: Objective, stages: Iterable[Stage], *, compiled: bool = False
) -> None:
    """Refuse a run whose sequences can't lie on several processes.

    Args:
        size: processes of a sequence; one is always fine.
        backbone: of the model.
        objective: of the run.
        stages: of the run.
        compiled: whether the model runs by torch.compile.

    Raises:
        UserError: naming the family, the objective or the length.
    """
    if size == 1:
        return
    check_parts(size, backbone, stages)
    if not objective.divisible:
        raise UserError(
            f"trainer.context_size: the loss of {type(objective).__name__} is not a sum over the parts of a "
            f"sequence (got {size}); set 1, as trainer=ddp does"
        )
    if compiled:
        raise UserError(
            "train.compile: a compiled model reads whole sequences (got true with "
            f"trainer.context_size={size}); set one of them back"
        )


def check_parts(size: int, backbone: Backbone, stages: Iterable[Stage]) -> None:
    """Refuse sequences that do not make equal parts, and models that can't read parts.

    Args:
        size: processes of a sequence; one is always fine.
        backbone: of the model.
        stages: of the run. Samples that differ in length are padded.

    Raises:
        UserError: naming the family or the length.
    """
    if size == 1:
        return
    need(backbone, ("causal", "recurrent", "divisible"), f"trainer.context_size={size}")
    for stage in stages:
        if stage.mean is None and stage.length % size:
            raise UserError(
                f"trainer.context_size: {size} processes can't share windows evenly (got {stage.length:,} "
                "bases); set data.max_length, and data.length_warmup.first_length where there is one, to a "
                "multiple"
            )


class InParts(nn.Module):
    """A model that is given whole sequences, [B, L] or a chunk of them, and reads this rank's part.

    So a sequence on several ranks can also be read chunk by chunk: each chunk lies on all ranks, and none
    waits for another one's chunks.

    Args:
        model: a language model whose backbone has `ranks`.
        ranks: the same.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.model = model
        self.ranks = ranks

    def forward(self, tokens: Tensor, state: Any = None) -> Any:
        """Run the model on this rank's part of the tokens [B, L]."""
        return self.model(self.ranks.part(tokens), state)


def chunks_in_parts(chunks: Chunks, ranks: Ranks) -> Chunks:
    """Return the same sum over chunks, each of them read by all ranks together."""
    after = chunks.after
    return chunks._replace(
        model=InParts(chunks.model, ranks),
        targets_of=lambda span: ranks.part(chunks.targets_of(span)),
        after=None if after is None else lambda tokens, state: after(ranks.part(tokens), state),
    )
