"""The inner loop of matrix products: a tile of sums that stays in registers.

A tile has `ROWS` rows and `COLUMNS` columns, as many as fit the registers along with the factors: 12 x 32
with AVX-512, which has 32 registers, 6 x 16 elsewhere. Each sum runs over its terms in their order, whatever
the tile.
"""

from typing import Any

from llvmlite import binding
from numba.core import cgutils, types

from .vectors import LANES, _address, _constant, _load, _multiply_add, _save, _splat, intrinsic

_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
ROWS, VECTORS = (12, 2) if _WIDE else (6, 1)
COLUMNS = VECTORS * LANES


@intrinsic
def multiply_tile(
    typing: Any, a: Any, at_a: Any, row: Any, term: Any, b: Any, at_b: Any, width: Any, terms: Any, c: Any
) -> Any:
    """Write c[i, j], the sum over s of a[at_a + i row + s term] b[at_b + s width + j].

    Args:
        a, b: flat arrays; `at_a` and `at_b` are their offsets.
        row, term: steps in `a` from one row of the tile to the next, from one term to the next.
        width: step in `b` from one term to the next.
        terms: of each sum.
        c: at least ROWS x COLUMNS, dense, written from its first element on.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, at_a, row, term, b, at_b, width, terms, c = arguments
        of_a = _address(context, builder, signature.args[0], a, at_a)
        of_b = _address(context, builder, signature.args[4], b, at_b)
        zero = terms.type(0)
        of_c = _address(context, builder, signature.args[8], c, zero)
        sums = [
            [cgutils.alloca_once_value(builder, _constant(0.0)) for _ in range(VECTORS)] for _ in range(ROWS)
        ]
        with cgutils.for_range(builder, terms) as loop:
            from_a = builder.gep(of_a, [builder.mul(loop.index, term)])
            from_b = builder.gep(of_b, [builder.mul(loop.index, width)])
            factors = [_load(builder, builder.gep(from_b, [zero.type(LANES * j)])) for j in range(VECTORS)]
            for i in range(ROWS):
                place = builder.gep(from_a, [builder.mul(row, zero.type(i))])
                factor = _splat(builder, builder.load(place))
                for j in range(VECTORS):
                    value = _multiply_add(builder, factor, factors[j], builder.load(sums[i][j]))
                    builder.store(value, sums[i][j])
        for i in range(ROWS):
            for j in range(VECTORS):
                place = builder.gep(of_c, [zero.type(i * COLUMNS + LANES * j)])
                _save(builder, builder.load(sums[i][j]), place)
        return context.get_dummy_value()

    step = types.intp
    return types.void(a, step, step, step, b, step, step, step, c), code
