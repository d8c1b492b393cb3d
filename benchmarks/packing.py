"""Time of packed rows compared with padded ones: sequences of 50 to 1,000 bases, lengths uniform.

    python benchmarks/packing.py --out logs/benchmarks/packing            # a GPU, bf16 autocast
    python benchmarks/packing.py --device cpu --rows 32 --backends numba chunked

First the loss of a batch and the gradients are compared with float64: packing may not err by more than twice
what padding does. Then a forward without gradients and a training step (forward, backward, AdamW) of batches
as fine-tuning draws them, and `dnamamba.embed` of many sequences, are timed in turns: medians, on a CPU of
the processor's time. `--padded` leaves out the packed ones, for an older build.
"""

import argparse
import copy
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dnamamba import LanguageModel, MambaConfig, embed
from dnamamba.models import DecoderConfig, SequenceModel

try:
    from dnamamba.models import packing
except ImportError:  # an older build, with --padded
    packing = None  # type: ignore[assignment]

WIDTH, DEPTH, SHORTEST, LONGEST = 128, 12, 50, 1000
HEADER = ["device", "backend", "rows", "what", "padded_ms", "packed_ms", "padded_over_packed"]


def batch(rows: int, seed: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens [B, L] padded on the right, lengths and labels."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(SHORTEST, LONGEST + 1, rows)
    tokens = draw.integers(0, 4, (rows, -(-lengths.max() // 8) * 8)).astype(np.uint8)
    made = (torch.from_numpy(x) for x in (tokens, lengths, draw.integers(0, 2, rows)))
    tokens, lengths, labels = (x.to(device) for x in made)
    return (
        tokens.masked_fill(torch.arange(tokens.shape[1], device=device) >= lengths[:, None], 4),
        lengths,
        labels,
    )


def pack(on: bool) -> None:
    """Let rows be packed wherever there is padding, or never."""
    if packing is not None:
        packing.WORTH_FROM, packing.PAYS_FROM = (1.0 if on else 0.0), 0


def model(backend: str, device: str) -> SequenceModel:
    torch.manual_seed(0)
    decoder = DecoderConfig("classification", ("a", "b"), mode="mean")
    return SequenceModel(MambaConfig(d_model=WIDTH, n_layer=DEPTH), decoder, backend).to(device)


def step(net: nn.Module, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    tokens, lengths, labels = given
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.device.type == "cuda"):
        loss = nn.functional.cross_entropy(net(tokens, lengths), labels)
    loss.backward()
    return loss.detach()


def outcome(net: SequenceModel, given: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    net.zero_grad()
    loss = step(net, given)
    return [loss, *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


def check(net: SequenceModel, given: tuple[Tensor, Tensor, Tensor]) -> None:
    """Compare loss and gradients with float64.

    Raises:
        AssertionError: a packed one errs by more than twice what the padded one does, and a rounding.
    """
    exact = model("chunked", str(given[0].device))
    exact.load_state_dict(net.state_dict())
    pack(False)
    with torch.autocast(given[0].device.type, enabled=False):
        truth = outcome_exact(exact.double(), given)
    padded = outcome(net, given)
    pack(True)
    packed = outcome(net, given)
    again = outcome(net, given)
    worst = []
    for one, other, same, true in zip(packed, padded, again, truth, strict=True):
        assert torch.equal(one, same)
        ours, theirs = ((x.double() - true).norm() / true.norm() for x in (one, other))
        worst.append((float(ours), float(theirs)))
        assert ours <= 2 * theirs + 1e-3, worst[-1]
    print(f"CHECK packed {max(a for a, _ in worst):.2e}, padded {max(b for _, b in worst):.2e}", flush=True)


def outcome_exact(net: SequenceModel, given: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    tokens, lengths, labels = given
    loss = nn.functional.cross_entropy(net(tokens, lengths), labels)
    gradients = torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad])
    return [loss.detach(), *gradients]


def timed(call: Callable[[], object], device: str) -> float:
    """Return milliseconds of a call: by the clock on a GPU, of the processor on a CPU."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (clock() - began)


def in_turns(call: Callable[[int], object], device: str, repeats: int, both: bool) -> dict[bool, float]:
    """Return the median milliseconds of `call(number)`, padded and packed."""
    ways = (False, True) if both else (False,)
    laps: dict[bool, list[float]] = {way: [] for way in ways}
    for number in range(-2, repeats):
        for way in ways:
            pack(way)
            lap = timed(lambda: call(number), device)  # noqa: B023
            if number >= 0:
                laps[way].append(lap)
    return {way: statistics.median(found) for way, found in laps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time packed rows compared with padded ones.")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/packing"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backends", nargs="+", default=["auto"])
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 128, 512], help="sequences of a batch")
    parser.add_argument("--embedded", type=int, default=4096, help="sequences for embed; 0: none")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--padded", action="store_true", help="time no packed rows")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device, both = args.device, not args.padded
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    with (args.out / "packing.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)

        def write(backend: str, rows: int, what: str, found: dict[bool, float]) -> None:
            packed = found.get(True, float("nan"))
            row = [
                name,
                backend,
                rows,
                what,
                f"{found[False]:.2f}",
                f"{packed:.2f}",
                f"{found[False] / packed:.2f}",
            ]
            print(*row, flush=True)
            writer.writerow(row)
            file.flush()

        for backend in args.backends:
            net = model(backend, device)
            optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=device == "cuda")
            if both:
                check(copy.deepcopy(net), batch(8, 0, device))
            for rows in args.rows:
                batches = [batch(rows, seed, device) for seed in range(8)]

                @torch.no_grad()
                def forward(number: int) -> None:
                    tokens, lengths, _ = batches[number % 8]  # noqa: B023
                    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                        net(tokens, lengths)  # noqa: B023

                def whole(number: int) -> None:
                    optimizer.zero_grad()  # noqa: B023
                    step(net, batches[number % 8])  # noqa: B023
                    optimizer.step()  # noqa: B023

                write(backend, rows, "forward", in_turns(forward, device, args.repeats, both))
                write(backend, rows, "step", in_turns(whole, device, args.repeats, both))
            if args.embedded:
                torch.manual_seed(0)
                language = LanguageModel(MambaConfig(d_model=WIDTH, n_layer=DEPTH), backend).eval().to(device)
                draw = np.random.default_rng(1)
                lengths = draw.integers(SHORTEST, LONGEST + 1, args.embedded)
                texts = ["".join(draw.choice(list("ACGT"), int(length))) for length in lengths]
                found = in_turns(lambda _: embed(language, texts), device, 3, both)  # noqa: B023
                write(backend, args.embedded, "embed", found)


if __name__ == "__main__":
    main()
