"""The Triton selective scan on a GPU: `pytest -m gpu`."""

import pytest
import torch

from dnamamba.kernels import selective_scan
from tests.kernels.scan_inputs import run_scan, scan_inputs, trained_inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpu(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: x.cuda() for name, x in inputs.items()}


def assert_within_budget(ours: dict, eager: dict, truth: dict) -> None:
    """At most twice what an eager run of the same dtype misses, plus one rounding of the largest value."""
    for name, true in truth.items():
        largest = true.abs().max()
        rounding = torch.finfo(eager[name].dtype).eps * largest
        budget = 2 * ((eager[name].double() - true).abs().max() + rounding)
        assert (ours[name].double() - true).abs().max() <= budget, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("B", "L", "E", "N"),
    [
        (2, 257, 100, 16),
        (2, 264, 96, 16),
        (1, 264, 256, 16),
        (3200, 72, 32, 16),  # a single pass
        (8, 4104, 544, 16),  # chunks of two sizes
        (1, 65, 33, 4),
        (3, 128, 64, 8),
        (1, 70, 40, 32),
        (2, 264, 96, 12),  # a kernel of 16 states, four of them zero
        (1, 70, 40, 1),
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_outputs_and_gradients(B: int, L: int, E: int, N: int, dtype: torch.dtype, trained: bool) -> None:
    inputs = on_gpu((trained_inputs if trained else scan_inputs)(B, L, E, N))
    runs = [
        run_scan(inputs, backend, dtype=d, softplus=not trained)
        for backend, d in (("triton", dtype), ("reference", dtype), ("reference", torch.float64))
    ]
    assert_within_budget(*runs)


@pytest.mark.parametrize(
    ("length", "dtype"), [(2**14 + 3, torch.float32), (2**20, torch.float32), (2**20, torch.bfloat16)]
)
def test_long_sequences_against_the_fp64_chunked_scan(length: int, dtype: torch.dtype) -> None:
    inputs = on_gpu(trained_inputs(1, length, 32, 16))
    ours = run_scan(inputs, "triton", dtype=dtype, softplus=False)
    eager = run_scan(inputs, "chunked", dtype=dtype, softplus=False)
    truth = run_scan(inputs, "chunked", softplus=False)
    assert_within_budget(ours, eager, truth)


@pytest.mark.parametrize("N", [4, 16])
def test_more_than_two_to_the_31_elements(N: int) -> None:
    B, L, E = 1, 2**20, 2304
    draw = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, device="cuda", dtype=torch.bfloat16)

    u, dt, b, c = normal(B, L, E), normal(B, L, E), normal(B, L, N), normal(B, L, N)
    a, dy = -torch.rand(E, N, generator=draw, device="cuda") - 0.5, normal(B, L, E)
    y = selective_scan(u.requires_grad_(), dt, a, b, c, dt_softplus=True).y
    (du,) = torch.autograd.grad(y, u, dy)
    assert y.numel() > 2**31
    # At these rates nothing is left of a state after 512 positions: what has so many on both sides is exact.
    for start in (0, L // 2, L - 2048):
        part = slice(start, start + 2048)
        window = [x.detach()[:, part].double() for x in (u, dt, b, c)]
        truth = selective_scan(
            window[0].requires_grad_(),
            window[1],
            a.double(),
            *window[2:],
            dt_softplus=True,
            backend="chunked",
        ).y
        (du_truth,) = torch.autograd.grad(truth, window[0], dy[:, part].double())
        seen = slice(0 if start == 0 else 512, 2048 if start == L - 2048 else 1536)
        torch.testing.assert_close(y[:, part][:, seen].double(), truth[:, seen], rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(du[:, part][:, seen].double(), du_truth[:, seen], rtol=2e-2, atol=3e-2)


def test_runs_are_equal_bit_for_bit() -> None:
    inputs = on_gpu(scan_inputs(2, 1000, 96, 16))
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (run_scan(inputs, "triton", dtype=torch.bfloat16) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch 2.11's own, when it first loads inductor
def test_compiles_into_one_graph() -> None:
    inputs = {name: x.float().requires_grad_() for name, x in on_gpu(scan_inputs(1, 100, 64, 16)).items()}

    def loss(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        scan = selective_scan(**tensors, dt_softplus=True)
        return scan.y.square().sum() + scan.state.sum()

    compiled = torch.compile(loss, fullgraph=True)
    expected = torch.autograd.grad(loss(inputs), list(inputs.values()))
    for ours, eager in zip(
        torch.autograd.grad(compiled(inputs), list(inputs.values())), expected, strict=True
    ):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-4)
