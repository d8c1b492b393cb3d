"""The scan and the convolution of a sequence in parts, against the whole in float64."""

import pytest
import torch
from torch import Tensor

from dnamamba.kernels import causal_conv1d, selective_scan
from tests.context.lockstep import Place, in_lockstep
from tests.kernels.scan_inputs import OPTIONAL, scan_inputs

ALONG = ("u", "dt", "B", "C", "z")


def part(x: Tensor, place: Place) -> Tensor:
    return x.unflatten(1, (place.size, -1))[:, place.rank]


def scanned(inputs: dict[str, Tensor], backend: str, weights: tuple[Tensor, Tensor], place: Place | None):
    """y, the state, and all gradients of a loss of both; of a part where there is a place."""
    cut = {n: part(x, place) if place and n in ALONG else x for n, x in inputs.items()}
    leaves = {name: x.clone().requires_grad_() for name, x in cut.items()}
    y, state = selective_scan(**leaves, dt_softplus=True, backend=backend, ranks=place)
    over_y = part(weights[0], place) if place else weights[0]
    gradients = torch.autograd.grad((y, state), list(leaves.values()), (over_y, weights[1]))
    return y.detach(), state.detach(), dict(zip(leaves, gradients, strict=True))


def check_scan(inputs: dict[str, Tensor], backend: str, size: int, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in (inputs["u"].shape, (len(inputs["u"]), *inputs["A"].shape))
    )
    y, state, gradients = scanned(inputs, "reference", weights, None)
    dtype = torch.float64 if backend != "triton" else torch.float32
    cast = {name: x.to(dtype) for name, x in inputs.items()}
    low = tuple(x.to(dtype) for x in weights)
    parts = in_lockstep(size, lambda place: scanned(cast, backend, low, place))

    def check(found: Tensor, expected: Tensor, name: str) -> None:
        assert (found - expected).norm() <= tolerance * expected.norm(), name

    check(torch.cat([part[0] for part in parts], dim=1), y, "y")
    for rank, (_, after, of_rank) in enumerate(parts):
        check(after, state, f"state on {rank}")
        if "initial_state" in inputs:
            check(of_rank["initial_state"], gradients["initial_state"], f"initial_state on {rank}")
    for name, expected in gradients.items():
        found = [part[2][name] for part in parts]
        if name in ALONG:
            check(torch.cat(found, dim=1), expected, name)
        elif name != "initial_state":
            check(torch.stack(found).sum(0), expected, name)


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize(("B", "L", "size"), [(1, 4, 4), (2, 21, 3), (1, 130, 2), (3, 10, 5)])
def test_a_scan_in_parts_equals_the_whole(backend: str, B: int, L: int, size: int) -> None:
    check_scan(scan_inputs(B, L, 3, 4), backend, size, 1e-12)


@pytest.mark.parametrize("optional", [(), *((name,) for name in OPTIONAL)], ids=lambda x: "+".join(x))
def test_a_scan_in_parts_takes_every_argument(optional: tuple[str, ...]) -> None:
    check_scan(scan_inputs(2, 12, 3, 4, optional=optional), "chunked", 2, 1e-12)


def convolved(
    x: Tensor, weight: Tensor, first: Tensor | None, over: tuple[Tensor, Tensor], place: Place | None
):
    leaves = [part(x, place) if place else x, weight, *([] if first is None else [first])]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y, state = causal_conv1d(
        leaves[0], leaves[1], activation="silu", initial_state=leaves[2] if first is not None else None,
        ranks=place,
    )  # fmt: skip
    over_y = part(over[0], place) if place else over[0]
    return y.detach(), state.detach(), torch.autograd.grad((y, state), leaves, (over_y, over[1]))


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("L", "size", "K"), [(12, 4, 4), (15, 3, 2), (6, 2, 4), (8, 2, 1), (4, 4, 4), (6, 3, 5)]
)
def test_a_convolution_in_parts_equals_the_whole(L: int, size: int, K: int, given: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(2, L, 3), (3, K), (2, K - 1, 3), (2, L, 3), (2, K - 1, 3)]
    x, weight, first, *over = (torch.randn(s, generator=draw, dtype=torch.float64) for s in shapes)
    first = first if given else None
    y, state, gradients = convolved(x, weight, first, tuple(over), None)
    parts = in_lockstep(size, lambda place: convolved(x, weight, first, tuple(over), place))
    assert torch.allclose(torch.cat([part[0] for part in parts], dim=1), y, rtol=0, atol=1e-14)
    assert torch.allclose(torch.cat([part[2][0] for part in parts], dim=1), gradients[0], rtol=0, atol=1e-14)
    assert torch.allclose(sum(part[2][1] for part in parts), gradients[1], rtol=0, atol=1e-13)
    for _, after, of_rank in parts:
        if K > 1:
            assert torch.equal(after, state)
        if given and K > 1:
            assert torch.allclose(of_rank[2], gradients[2], rtol=0, atol=1e-14)
