"""Vectors of 16 floats in Numba: operations that are vector instructions by construction.

LLVM's vectoriser gives up on loops that hold an exponential or arrays which may overlap. Here a vector is a
type of its own, and LLVM splits it into what the machine has: one zmm, two ymm, four NEON registers. No flag
allows another order of operations; `contract` only lets a product and a sum become one FMA.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import extending, types
from numba.core.extending import models, overload, register_model

LANES = 16
WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
intrinsic: Any = extending.intrinsic  # typed by Numba as the implementation, not as what is called
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _constant(value: float, kind: ir.VectorType = _FLOATS) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


def _splat(builder: Any, scalar: Any) -> Any:
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), scalar, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), lanes)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _load(builder: Any, address: Any) -> Any:
    value = builder.load(builder.bitcast(address, _FLOATS.as_pointer()))
    value.align = 4
    return value


def _save(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.bitcast(address, _FLOATS.as_pointer())).align = 4


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """Return the 16 floats of `array` from `offset` on, counted in elements from its first."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, _address(context, builder, signature.args[0], *arguments))

    return _vector(array, types.intp), code


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write a vector into `array` from `offset` on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset, value = arguments
        _save(builder, value, _address(context, builder, signature.args[0], array, offset))
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector), code


@intrinsic
def spread(typing: Any, array: Any, offset: Any) -> Any:
    """Return one float of `array` in all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, builder.load(_address(context, builder, signature.args[0], *arguments)))

    return _vector(array, types.intp), code


@intrinsic
def constant(typing: Any, value: Any) -> Any:
    """Return a number in all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0])

    return _vector(types.float32), code


def _binary(name: str, *flags: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments, flags=flags)

        return _vector(_vector, _vector), code

    return operation


def _define(operation: Callable[..., Any], function: Callable[..., Any]) -> None:
    def apply(a: Any, b: Any) -> Any:  # annotated like `chosen`: Numba compares the two signatures
        return function(a, b)

    @overload(operation)
    def chosen(a: Any, b: Any) -> Any:
        return apply if a == _vector and b == _vector else None


_define(operator.add, _binary("fadd", "contract"))
_define(operator.sub, _binary("fsub", "contract"))
_define(operator.mul, _binary("fmul", "contract"))
_define(operator.truediv, _binary("fdiv"))

# exp(f) for |f| <= ln(2)/2, 1 + f + ... with the largest relative error made small: 4e-09, below rounding.
_EXP = (1.0, 1.0, 0.49999994, 0.166665211, 0.041668389, 0.00836871658, 0.00138145988)
LOG2_E, _LN2_HIGH, _LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def _limited(builder: Any, x: Any, low: float, high: float) -> Any:
    for comparison, limit in (("<", low), (">", high)):
        beyond = builder.fcmp_ordered(comparison, x, _constant(limit))
        x = builder.select(beyond, _constant(limit), x)
    return x


def _exp(builder: Any, x: Any) -> Any:
    x = _limited(builder, x, -88.0, 89.0)
    shifted = _multiply_add(builder, x, _constant(LOG2_E), _constant(_ROUND))
    whole = builder.fsub(shifted, _constant(_ROUND))
    f = _multiply_add(builder, whole, _constant(-_LN2_HIGH), x)
    f = _multiply_add(builder, whole, _constant(-_LN2_LOW), f)
    value = _constant(_EXP[-1])
    for coefficient in reversed(_EXP[:-1]):
        value = _multiply_add(builder, value, f, _constant(coefficient))
    bits = builder.add(builder.bitcast(shifted, _INTEGERS), _constant(127, _INTEGERS))
    scale = builder.bitcast(builder.shl(bits, _constant(23, _INTEGERS)), _FLOATS)
    return builder.fmul(value, scale)


# 2^f for |f| <= 1/2, 1 + ... with the largest relative error made small: 1.6e-08 with rounded coefficients.
_EXP2 = (1.0, 0.6931472, 0.24022648, 0.055503324, 0.009618437, 0.0013398875, 0.00015353362)


def _exp2(builder: Any, x: Any) -> Any:
    """Make 2^x, to 1.2e-7 of its value: 2^-126 (1e-38) below -126, infinite from 128 on; NaN stays NaN."""
    x = _limited(builder, x, -126.0, 128.0)
    shifted = builder.fadd(x, _constant(_ROUND))
    f = builder.fsub(x, builder.fsub(shifted, _constant(_ROUND)))
    value = _constant(_EXP2[-1])
    for coefficient in reversed(_EXP2[:-1]):
        value = _multiply_add(builder, value, f, _constant(coefficient))
    # The whole part is added to the exponent of the result: no product, unlike in `exp`.
    whole = builder.shl(builder.bitcast(shifted, _INTEGERS), _constant(23, _INTEGERS))
    return builder.bitcast(builder.add(builder.bitcast(value, _INTEGERS), whole), _FLOATS)


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """Return exp(x), to 1.2e-7 of its value; 0 below -87.7 (1e-38), infinite above 88.3; NaN stays NaN."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _exp(builder, arguments[0])

    return _vector(_vector), code


@intrinsic
def part_above_zero(typing: Any, x: Any) -> Any:
    """Return max(x, 0); NaN stays NaN."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        return builder.select(builder.fcmp_ordered("<", x, _constant(0.0)), _constant(0.0), x)

    return _vector(_vector), code


@intrinsic
def sums_of_lanes(typing: Any, array: Any, offset: Any) -> Any:
    """Return the sums of 16 vectors that follow each other in `array`, sum i in lane i.

    Each of four rounds folds pairs of vectors into one, half of whose lanes belong to either: 45 instructions
    where one sum after the other would take 128.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, offset = arguments
        vectors = []
        for i in range(LANES):
            place = builder.add(offset, ir.Constant(offset.type, LANES * i))
            vectors.append(_load(builder, _address(context, builder, signature.args[0], array, place)))
        half = LANES // 2
        while half:
            low = [
                lane + other for first in range(0, LANES, 2 * half) for other in (0, LANES)
                for lane in range(first, first + half)
            ]  # fmt: skip
            vectors = [
                builder.fadd(
                    builder.shuffle_vector(a, b, ir.Constant(_INTEGERS, low)),
                    builder.shuffle_vector(a, b, ir.Constant(_INTEGERS, [lane + half for lane in low])),
                )
                for a, b in zip(vectors[:half], vectors[half:], strict=True)
            ]
            half //= 2
        return vectors[0]

    return _vector(array, types.intp), code
