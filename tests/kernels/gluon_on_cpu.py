"""Runs Gluon kernels on a CPU, one program after the other, with torch tensors for Gluon's.

Triton's interpreter does not know Gluon. Here layouts mean nothing: they say where a value lies, not which
it is. Checked is what a kernel can get wrong besides its arithmetic: shared memory begins as NaN, and
what an asynchronous copy brings lands either when it is waited for (`late`; until then its target is NaN) or
at once. A kernel must be right both ways.
"""

import ast
import builtins
import inspect
import math
import textwrap
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor


class Scalar(int):
    """An integer that may be asked for another width, as the kernels ask for 64 bits."""

    def to(self, _: Any) -> "Scalar":
        return self


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "mod", "rshift", "and"):

    def _operate(self: Scalar, other: Any, name: str = f"__{_name}__") -> Any:
        result = getattr(int, name)(self, other)
        return result if result is NotImplemented else Scalar(result)

    setattr(Scalar, f"__{_name}__", _operate)


class Pointer:
    """An address in a tensor's memory, or many."""

    def __init__(self, base: Tensor, offset: Any = 0) -> None:
        self.base, self.offset = base, offset
        self.dtype = SimpleNamespace(element_ty=base.dtype)

    def __add__(self, other: Any) -> "Pointer":
        return Pointer(self.base, self.offset + other)

    def memory(self) -> tuple[Tensor, Tensor]:
        """What follows `base` in memory, and the offsets into it; both ends are checked."""
        length = self.base.untyped_storage().nbytes() // self.base.element_size() - self.base.storage_offset()
        offset = torch.as_tensor(self.offset).long()
        assert 0 <= int(offset.min()) <= int(offset.max()) < length
        return torch.as_strided(self.base, (length,), (1,)), offset


class Shared:
    """A view of shared memory."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.shape = list(data.shape)

    def index(self, i: int) -> "Shared":
        assert 0 <= i < self.shape[0]
        return Shared(self.data[int(i)])

    def slice(self, start: int, length: int, dim: int) -> "Shared":
        return Shared(self.data.narrow(dim, start, length))

    def permute(self, order: list[int]) -> "Shared":
        return Shared(self.data.permute(order))

    def load(self, layout: Any) -> Any:
        return self.data.clone()

    def store(self, value: Tensor) -> None:
        assert value.shape == self.data.shape
        self.data.copy_(value)


class Copies:
    """Asynchronous copies in groups, of which the oldest are waited for."""

    def __init__(self, late: bool) -> None:
        self.late = late
        self.groups: list[list[tuple[Shared, Tensor]]] = [[]]

    def async_copy_global_to_shared(self, target: Shared, source: Pointer) -> None:
        memory, offset = source.memory()
        assert offset.shape == target.data.shape
        # A lane copies 4, 8 or 16 bytes of a row, and the compiler has been promised that rows begin evenly.
        first = memory.data_ptr() + offset[:, 0] * memory.element_size()
        assert not (first % 16).any()
        assert torch.equal(offset - offset[:, :1], torch.arange(offset.shape[1]).expand_as(offset))
        if self.late:
            target.data.fill_(math.nan)
            self.groups[-1].append((target, memory[offset]))
        else:
            target.data.copy_(memory[offset])

    def commit_group(self) -> None:
        self.groups.append([])

    def wait_group(self, outstanding: int) -> None:
        while len(self.groups) > outstanding + 1:
            for target, value in self.groups.pop(0):
                target.data.copy_(value)


def load(source: Pointer) -> Any:
    memory, offset = source.memory()
    found = memory[offset]
    return found if found.dim() else Scalar(found.item())


def store(target: Pointer, value: Tensor) -> None:
    memory, offset = target.memory()
    memory[offset] = value.to(memory.dtype)


def where(condition: Any, chosen: Any, other: Tensor) -> Tensor:
    """Of a condition for a whole tile, too."""
    if isinstance(condition, Tensor):
        return torch.where(condition, chosen, other)
    return torch.full_like(other, chosen) if condition else other


def atomic_add(target: Pointer, value: Tensor, sem: str) -> None:
    memory, offset = target.memory()
    assert offset.unique().numel() == offset.numel()
    memory[offset] += value


def product(left: Tensor, right: Tensor, sum_so_far: Tensor, input_precision: str) -> Tensor:
    """A product in TF32: of the inputs' 23 bits after the point, 10 count."""
    assert input_precision == "tf32"
    cut = (torch.bitwise_and(x.contiguous().view(torch.int32), -(1 << 13)) for x in (left, right))
    return sum_so_far + torch.mul(1, next(cut).view(torch.float32)) @ next(cut).view(torch.float32)


def language(program: int, copies: Copies) -> dict[str, Any]:
    """The names that kernels use, for one program."""

    def shared(dtype: torch.dtype, shape: list[int], layout: Any) -> Shared:
        return Shared(torch.full(shape, math.nan, dtype=dtype))

    gl = SimpleNamespace(
        constexpr=None, float32=torch.float32, int32=None, int64=None,
        BlockedLayout=lambda *_: None, SliceLayout=lambda *_: None,
        allocate_shared_memory=shared, program_id=lambda _: Scalar(program),
        arange=lambda start, end, _: torch.arange(start, end),
        zeros=lambda shape, dtype, _: torch.zeros(shape, dtype=dtype),
        load=load, store=store, atomic_add=atomic_add, where=where, static_range=range,
        sum=lambda x, axis: x.sum(axis), minimum=lambda a, b: Scalar(min(a, b)),
        reshape=torch.reshape, permute=torch.permute, convert_layout=lambda x, _: x,
    )  # fmt: skip
    return {
        "gl": gl,
        "tl": SimpleNamespace(int64=None, maximum=lambda a, b: Scalar(max(a, b))),
        "async_copy": copies,
        "mma_v2": product,
        "exp2": lambda x, _: torch.exp2(x),
        "sigmoid": lambda x, _: torch.sigmoid(x),
        "softplus": lambda x, _: torch.nn.functional.softplus(x, threshold=80),
        "LOG2E": math.log2(math.e),
        "FORGET": 1e30,
        "N": 16,
        "WIDTH": 32,
        "range": lambda *ends: map(Scalar, builtins.range(*ends)),
    }


class OnCpu:
    """Stands for a compiled kernel: `OnCpu(kernel, late)[(programs,)](...)`."""

    def __init__(self, kernel: Any, late: bool) -> None:
        self.kernel, self.late = kernel, late

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*arguments: Any, num_warps: int, maxnreg: int, **constants: Any) -> None:
            assert num_warps == 1
            bound = inspect.signature(self.kernel.fn).bind(*arguments, **constants).arguments
            for program in range(grid[0]):
                copies = Copies(self.late)
                names = language(program, copies)
                values = {name: _argument(value) for name, value in bound.items()}
                _with_names(self.kernel, names)(**values)

        return launch


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Pointer(value)
    return Scalar(value) if type(value) is int else value


def _with_names(kernel: Any, names: dict[str, Any]) -> FunctionType:
    """The kernel's Python function, and those it calls, seeing `names` for what they import."""
    function = kernel.fn
    code = _without_in_place(function)
    scope = {"__builtins__": builtins, **names}
    for name in code.co_names:
        if name not in scope and name in function.__globals__:
            value = function.__globals__[name]
            scope[name] = _with_names(value, names) if hasattr(value, "fn") else value
    return FunctionType(code, scope, function.__name__, function.__defaults__)


class _NewNames(ast.NodeTransformer):
    """Turns `x += y` into `x = x + y`: Gluon's makes a new tensor, torch's would change all that share it."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.Assign:
        assert isinstance(node.target, ast.Name)
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.copy_location(ast.Assign([node.target], value), node)


@cache
def _without_in_place(function: FunctionType) -> CodeType:
    """The code of a kernel's function after `_NewNames`, with its lines as they are numbered in its file."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    module = compile(ast.fix_missing_locations(_NewNames().visit(tree)), inspect.getfile(function), "exec")
    (code,) = (x for x in module.co_consts if isinstance(x, CodeType) and x.co_name == function.__name__)
    return code
