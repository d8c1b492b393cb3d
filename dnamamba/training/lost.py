"""What a process says when another one of its run has ended, instead of what its libraries say."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from dnamamba.errors import UserError

# gloo raises plain RuntimeErrors that begin with a line of its source.
_GLOO = re.compile(r"gloo/\S+\] .*?(Connection \w+ by peer|Broken pipe|Timed out\b)", re.DOTALL)
_NCCL = re.compile(r"remote process exited|network error|Connection \w+ by peer|aborted|[Tt]imed? ?out")


def lost_by(error: RuntimeError) -> str | None:
    """Return how another process was lost, in the library's words; None for any other error."""
    text = str(error)
    if isinstance(error, dist.DistError):
        found = _NCCL.search(text)
        return found[0] if found else None
    found = _GLOO.search(text)
    return found[1] if found else None


@contextmanager
def one_line_if_lost(checkpoint: Path) -> Iterator[None]:
    """Let a run end in one line where another of its processes has ended.

    Args:
        checkpoint: to resume from, if it is there by then.

    Raises:
        UserError: in place of an error from torch's backend between processes.
    """
    try:
        yield
    except RuntimeError as error:
        how = lost_by(error)
        if how is None:
            raise
        raise UserError(lost_line(how, checkpoint)) from error


def lost_line(how: str, checkpoint: Path) -> str:
    """Return what to tell the user of a process that was lost."""
    resume = f"resume with ckpt_path={checkpoint}" if checkpoint.is_file() else "start again"
    return f"trainer: another process of the run ended, killed or out of memory (got {how}); {resume}"
