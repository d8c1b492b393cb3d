"""The inner loop of matrix products: a tile of sums that stays in registers.

A tile has `ROWS` rows and `COLUMNS` columns, as many as fit the registers along with the factors: 12 x 32
with AVX-512, which has 32 registers, 6 x 16 elsewhere. Each sum runs over its terms in their order, whatever
the tile.
"""

from collections.abc import Callable
from typing import Any

from numba.core import cgutils, types

from .vectors import LANES, WIDE, _address, _constant, _load, _multiply_add, _save, _splat, intrinsic

ROWS, VECTORS = (12, 2) if WIDE else (6, 1)
COLUMNS = VECTORS * LANES


def _tile(vectors: int) -> Callable[..., Any]:
    """Return an intrinsic that multiplies tiles of `ROWS` rows and `vectors` times 16 columns.

    It writes c[i, j], the sum over s of a[at_a + i row + s term] b[at_b + s width + j]. Its arguments:
        a, b: arrays; `at_a` and `at_b` are offsets from their first elements.
        row, term: steps in `a` from one row of the tile to the next, from one term to the next.
        width: step in `b` from one term to the next.
        terms: of each sum.
        c: written from `at_c` on, each row `row_c` after the one before.
    """

    @intrinsic
    def multiply(
        typing: Any,
        a: Any,
        at_a: Any,
        row: Any,
        term: Any,
        b: Any,
        at_b: Any,
        width: Any,
        terms: Any,
        c: Any,
        at_c: Any,
        row_c: Any,
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, at_a, row, term, b, at_b, width, terms, c, at_c, row_c = arguments
            of_a = _address(context, builder, signature.args[0], a, at_a)
            of_b = _address(context, builder, signature.args[4], b, at_b)
            zero = terms.type(0)
            of_c = _address(context, builder, signature.args[8], c, at_c)
            sums = [
                [cgutils.alloca_once_value(builder, _constant(0.0)) for _ in range(vectors)]
                for _ in range(ROWS)
            ]
            with cgutils.for_range(builder, terms) as loop:
                from_a = builder.gep(of_a, [builder.mul(loop.index, term)])
                from_b = builder.gep(of_b, [builder.mul(loop.index, width)])
                factors = [
                    _load(builder, builder.gep(from_b, [zero.type(LANES * j)])) for j in range(vectors)
                ]
                for i in range(ROWS):
                    place = builder.gep(from_a, [builder.mul(row, zero.type(i))])
                    factor = _splat(builder, builder.load(place))
                    for j in range(vectors):
                        value = _multiply_add(builder, factor, factors[j], builder.load(sums[i][j]))
                        builder.store(value, sums[i][j])
            for i in range(ROWS):
                for j in range(vectors):
                    place = builder.gep(
                        of_c, [builder.add(builder.mul(row_c, zero.type(i)), zero.type(LANES * j))]
                    )
                    _save(builder, builder.load(sums[i][j]), place)
            return context.get_dummy_value()

        step = types.intp
        return types.void(a, step, step, step, b, step, step, step, c, step, step), code

    return multiply


multiply_tile = _tile(VECTORS)
multiply_narrow_tile = _tile(1)
