"""Triton's interpreter in half its time: the same functions of the same values, called less often.

Changed are six things that take more time than the kernels. At each call of a function it looks through
the whole language for what to replace. It takes a scan an element at a time. It computes each sum and product
of integers again, in 64 bits, for an assertion that is off. It makes a table of all types anew for each
value, and each value's and each type's shape. And it compares the shapes of two operands a side at a time,
whether or not they are the same. A triton without these names keeps its own.
"""

import dataclasses
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter

# The interpreter's own.
scan_by_elements = getattr(getattr(interpreter, "ScanOps", None), "generic_scan", None)


class _Lasting:
    """What was put in place of the language's functions, which stays."""

    def restore(self) -> None:
        pass


def quicken() -> None:
    """Change the interpreter of this process, for good."""
    if hasattr(interpreter, "_patch_lang"):
        # As seen by a function whose module has both names of the language.
        interpreter._patch_lang(FunctionType(quicken.__code__, {"tl": tl, "core": tl.core}))
        lasting = _Lasting()
        interpreter._patch_lang = lambda _: lasting
    if scan_by_elements is not None:
        interpreter.ScanOps.generic_scan = scan_by_slices
    options = getattr(getattr(interpreter, "interpreter_builder", None), "options", None)
    if options is not None and not options.debug:
        interpreter.interpreter_builder.options = dataclasses.replace(options, sanitize_overflow=False)
    if hasattr(interpreter, "_get_np_dtype"):
        interpreter._get_np_dtype = _remembered(interpreter._get_np_dtype)
    tl.block_type.__init__ = _made_once(tl.block_type.__init__, _element_and_shape, ("element_ty",))
    tl.tensor.__init__ = _made_once(tl.tensor.__init__, _shape, ("handle", "type", "dtype"))
    if hasattr(TritonSemantic, "broadcast_impl_value"):
        TritonSemantic.broadcast_impl_value = _unless_alike(TritonSemantic.broadcast_impl_value)
    if hasattr(TritonSemantic, "binary_op_type_checking_impl"):
        checked = TritonSemantic.binary_op_type_checking_impl
        TritonSemantic.binary_op_type_checking_impl = _once_a_pair(checked)


def scan_by_slices(self: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Combine whole slices across `self.axis` in order: every element meets what it met one at a time."""
    along = [np.moveaxis(each.handle.data, self.axis, 0) for each in inputs]
    out = [np.empty_like(each) for each in along]
    before: tuple[Any, ...] = ()
    for i in range(along[0].shape[0]):
        here = tuple(self.to_tensor(each[i], x.dtype) for each, x in zip(along, inputs, strict=True))
        found = self.combine_fn.fn(*before, *here) if before else here
        before = found if isinstance(found, tuple) else (found,)
        for each, value in zip(out, before, strict=True):
            each[i] = value.handle.data.reshape(each[i].shape)
    axis = self.axis
    return [self.to_tensor(np.moveaxis(each, 0, axis), x.dtype) for each, x in zip(out, inputs, strict=True)]


def _remembered(dtype_of: Callable[[Any], np.dtype]) -> Callable[[Any], np.dtype]:
    """NumPy's type of a Triton type, found once for each element type."""
    known: dict[str, np.dtype] = {}

    def found(kind: Any) -> np.dtype:
        element = kind.element_ty if isinstance(kind, tl.block_type) else kind
        name = "pointer" if isinstance(element, tl.pointer_type) else element.name
        if name not in known:
            known[name] = dtype_of(element)
        return known[name]

    return found


def _element_and_shape(element_ty: Any, shape: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a block type's shape, size and name depend on, and what else it holds."""
    return (element_ty.name, *shape), {"element_ty": element_ty}


def _shape(handle: Any, type: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a value's shape and size depend on, and what else it holds."""
    shape = type.shape if type.is_block() else ()
    return (*shape,), {"handle": handle, "type": type, "dtype": type.scalar}


def _made_once(
    init: Callable[..., None], parts: Callable[..., Any], own: tuple[str, ...]
) -> Callable[..., None]:
    """`init`, whose results other than the attributes in `own` are shared by objects of the same key."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def made(self: Any, first: Any, second: Any) -> None:
        key, attributes = parts(first, second)
        if key not in known:
            init(self, first, second)
            known[key] = {name: value for name, value in vars(self).items() if name not in own}
        else:
            vars(self).update(known[key], **attributes)

    return made


def _unless_alike(broadcast: Callable[..., Any]) -> Callable[..., Any]:
    """`broadcast`, which gives two blocks of one shape back as they are, asked of the others alone."""

    def broadcast_others(self: Any, lhs: Any, rhs: Any) -> Any:
        left, right = lhs.type, rhs.type
        alike = left.is_block() and right.is_block() and (*left.shape,) == (*right.shape,)
        return (lhs, rhs) if alike else broadcast(self, lhs, rhs)

    return broadcast_others


def _once_a_pair(checked: Callable[..., Any]) -> Callable[..., Any]:
    """`checked`, which casts and broadcasts two operands, asked once of types that it gives back as they are.

    The block that it makes of a number is kept, and can't be written to.
    """
    known: dict[Any, tuple[Any, Any]] = {}

    def pair(self: Any, lhs: Any, rhs: Any, *flags: bool, **named: bool) -> tuple[Any, Any]:
        left = lhs.type.name if isinstance(lhs, tl.tensor) else lhs
        right = rhs.type.name if isinstance(rhs, tl.tensor) else rhs
        key = (left, right, type(lhs), type(rhs), flags, *named.items())
        if key in known:
            left, right = known[key]
            return lhs if left is None else left, rhs if right is None else right
        found = checked(self, lhs, rhs, *flags, **named)
        made = tuple(None if new is old else new for new, old in zip(found, (lhs, rhs), strict=True))
        for new, old in zip(made, (lhs, rhs), strict=True):
            if new is not None and isinstance(old, tl.tensor):
                return found
            if new is not None:
                new.handle.data.flags.writeable = False
        known[key] = made
        return found

    return pair
