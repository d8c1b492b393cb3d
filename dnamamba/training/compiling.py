"""torch.compile for as long as a run trains and scores, and one line where it can't compile."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch._dynamo.exc import TorchDynamoException

from dnamamba.errors import UserError


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Compile `model` when it is first called, where that is wanted; afterwards it is as it was.

    Raises:
        UserError: torch can't compile it here, for example without a C++ compiler on a CPU.
    """
    if not wanted:
        yield
        return
    model.compile()
    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"train.compile: torch can't compile this model here (got {type(error).__name__}: {reason}); "
            "set train.compile=false, or install a C++ compiler where that is what it lacks"
        ) from error
    finally:
        model._compiled_call_impl = None  # as torch leaves it in a copy
