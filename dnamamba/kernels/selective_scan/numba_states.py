"""The inner loop of the scan's forward pass: states of 16 channels that stay in registers over positions."""

from collections.abc import Callable
from typing import Any

from numba.core import cgutils, types

from dnamamba.kernels.numba_cpu.vectors import (
    LANES,
    WIDE,
    _address,
    _exp,
    _exp2,
    _load,
    _multiply_add,
    _save,
    _splat,
    intrinsic,
)

# States that `advance2` takes at a time: with AVX-512, which has 32 registers, 8 and their rows of A leave
# room for the rest; elsewhere a vector takes several registers. `advance` is compiled sooner with few.
STATES, FEW_STATES = (8 if WIDE else 2), 2


def _sweep(power: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return an intrinsic which takes `count` states through the positions `first` to `last`.

    Its arguments:
        h, A: [N, 16], flat; the states and their rows of A begin at `at`.
        deltas: [T, 16], flat; a state decays by `power` of delta A.
        drives: [T, 16], flat, dt times u.
        outs: [T, 16], flat, the output of the states before these; that of these is added.
        B, C: arrays whose factor of state n at position t is at `at_B` + t `step_B` + n.
    """

    @intrinsic
    def advance(
        typing: Any,
        h: Any,
        A: Any,
        at: Any,
        deltas: Any,
        drives: Any,
        outs: Any,
        B: Any,
        at_B: Any,
        step_B: Any,
        C: Any,
        at_C: Any,
        step_C: Any,
        first: Any,
        last: Any,
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            h, A, at, deltas, drives, outs, B, at_B, step_B, C, at_C, step_C, first, last = arguments
            kinds = signature.args

            def address(place: int, array: Any, offset: Any) -> Any:
                return _address(context, builder, kinds[place], array, offset)

            def beyond(pointer: Any, steps: int) -> Any:
                return builder.gep(pointer, [at.type(steps)])

            start = at.type(0)
            of_h, of_A = address(0, h, at), address(1, A, at)
            tiles = [address(3, deltas, start), address(4, drives, start), address(5, outs, start)]
            of_B, of_C = address(6, B, at_B), address(9, C, at_C)
            states = [
                cgutils.alloca_once_value(builder, _load(builder, beyond(of_h, LANES * n)))
                for n in range(count)
            ]
            rows = [_load(builder, beyond(of_A, LANES * n)) for n in range(count)]
            with cgutils.for_range_slice(builder, first, last, at.type(1)) as (t, _):
                delta_at, drive_at, out_at = (builder.gep(x, [builder.mul(t, at.type(LANES))]) for x in tiles)
                delta, drive, out = (_load(builder, x) for x in (delta_at, drive_at, out_at))
                now_B = builder.gep(of_B, [builder.mul(t, step_B)])
                now_C = builder.gep(of_C, [builder.mul(t, step_C)])
                for n in range(count):
                    into, out_of = (_splat(builder, builder.load(beyond(x, n))) for x in (now_B, now_C))
                    decay = power(builder, builder.fmul(delta, rows[n]))
                    after = _multiply_add(builder, decay, builder.load(states[n]), builder.fmul(drive, into))
                    builder.store(after, states[n])
                    out = _multiply_add(builder, after, out_of, out)
                _save(builder, out, out_at)
            for n in range(count):
                _save(builder, builder.load(states[n]), beyond(of_h, LANES * n))
            return context.get_dummy_value()

        step = types.intp
        return types.void(h, A, step, deltas, drives, outs, B, step, step, C, step, step, step, step), code

    return advance


advance = _sweep(_exp, FEW_STATES)
# With delta log2(e): a fifth less time. The factor rounds delta once more, as its softplus has done.
advance2 = _sweep(_exp2, STATES)
