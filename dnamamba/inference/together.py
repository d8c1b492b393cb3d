"""One sequence read by several processes, which torchrun starts: each reads a part of every piece of it.

All of them go through the same work in the same order; the first one alone writes and prints.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.kernels.ranks import Ranks
from dnamamba.models.base import Backbone, need
from dnamamba.processes import processes_started
from dnamamba.training.gathering import ending_on_signals
from dnamamba.training.lost import lost_by
from dnamamba.training.watching import ending_if_lost, lost_neighbour

T = TypeVar("T")
_LONG = 10.0  # seconds that processes started together may take to find each other


@dataclass(frozen=True)
class Together:
    """The processes of a command.

    Args:
        ranks: that read each sequence; None: this one alone.
        device: of this one, as `inference.device.load_any_on` takes it.
    """

    ranks: Ranks | None
    device: str

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.ranks is None or self.ranks.rank == 0

    def need(self, backbone: Backbone) -> None:
        """Refuse a family that can't be read in parts.

        Raises:
            UserError: naming it.
        """
        if self.ranks is not None:
            need(backbone, ("causal", "recurrent", "divisible"), f"context_size={self.ranks.size}")

    def by_first(self, work: Callable[[], T]) -> T:
        """Run `work`, which touches files, in the first process, and return its result in all.

        Raises:
            UserError: from `work`; the others end without a word.
        """
        if self.ranks is None:
            return work()
        made: Any = None
        refused: UserError | None = None
        if self.first:
            try:
                made = work()
            except UserError as error:
                refused = error
        values = [made, refused is not None]
        dist.broadcast_object_list(values, src=0, group=self.ranks.group)
        if refused is not None:
            raise refused
        if values[1]:
            sys.exit(1)
        found: T = values[0]
        return found


def _gather(backend: str, started: int, gathered: threading.Event) -> None:
    """Wait for the other processes: with a word if they take long, and until a signal."""
    home = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    line = f"dnamamba: waiting for {started - 1} other process(es) of context_size={started} at {home}"
    word = threading.Timer(_LONG, lambda: print(printable(line), file=sys.stderr, flush=True))
    word.daemon = True
    word.start()
    try:
        with ending_on_signals(gathered, lambda: False, lambda _: None):
            dist.init_process_group(backend)
            gathered.set()
    finally:
        word.cancel()


@contextmanager
def together(context_size: int, device: str) -> Iterator[Together]:
    """Join the other processes of a command, and leave them in the end.

    Args:
        context_size: how many read a sequence together: all that were started.
        device: `auto`, or a device; of several GPUs each process takes one.

    Raises:
        UserError: other processes were started than `context_size` says, or one of them has ended.
    """
    started = processes_started()
    if context_size < 1:
        raise UserError(f"context_size: at least one process reads (got {context_size}); set 1 or more")
    if context_size != started or (started > 1 and "WORLD_SIZE" not in os.environ):
        raise UserError(
            f"context_size: so many processes read each sequence, and torchrun has started {started} (got "
            f"{context_size}); start them by torchrun --nproc-per-node={max(context_size, 2)} -m "
            f"dnamamba.<command> context_size={max(context_size, 2)} ..., or one with context_size=1"
        )
    if started == 1:
        yield Together(None, device)
        return
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    gathered = threading.Event()
    with ending_if_lost(lost_neighbour(gathered), _lost_line, lambda: None):
        _gather("nccl" if device.startswith("cuda") else "gloo", started, gathered)
        try:
            assert dist.group.WORLD is not None
            yield Together(Ranks(dist.group.WORLD), device)
        except RuntimeError as error:
            how = lost_by(error)
            if how is None:
                raise
            raise UserError(_lost_line(how)) from error
        finally:
            dist.destroy_process_group()


def _lost_line(how: str) -> str:
    return f"context_size: another process ended, killed or out of memory (got {how}); run the command again"
