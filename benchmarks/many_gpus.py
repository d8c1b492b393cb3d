"""One sequence over several GPUs: time, memory and speed of a training step on 1, 2, 4, ... of them.

    python benchmarks/many_gpus.py --out logs/benchmarks/many_gpus

Needs nothing but the machine: it starts the processes of every count itself, and the bases are random. A step
is forward, next-base cross-entropy, backward (bf16 autocast over fp32 parameters), the exchange of gradients
and fused AdamW. In `context` rows one sequence lies on all GPUs, read whole or by chunks of so many bases of
each GPU; in `ddp` and `fsdp` rows each GPU has a sequence of its own. A row is the median of some steps after
one to warm up, and the most memory that torch handed out on any GPU. Before anything is timed, losses and
gradients of one sequence on several GPUs are compared with those of one GPU and printed: relative errors, of
all parameters the largest. The first count is what the others are compared with.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.training.chunks import chunked_backward
from dnamamba.training.context import InParts, ranks_of_context

# NVLink multicast gains nothing for the few bytes here, and virtual machines may not have it.
os.environ["NCCL_NVLS_ENABLE"] = "0"

MODELS = {"1.4M": (128, 12), "40.7M": (512, 24), "tiny": (16, 2)}
WHOLE = 0


class Case(NamedTuple):
    """A row: a model, the bases of a sequence, a GPU's bases of a chunk, and from how many GPUs on."""

    model: str
    length: int
    chunk: int
    steps: int
    least: int = 1  # by memory or by patience
    how: str = "context"


CASES = [
    Case("1.4M", 2**22, WHOLE, 5),
    Case("1.4M", 2**22, 2**18, 3),
    Case("40.7M", 2**22, 2**17, 2),
    Case("1.4M", 2**20, WHOLE, 5, how="ddp"),
    Case("1.4M", 2**20, WHOLE, 5, how="fsdp"),
    Case("40.7M", 2**20, 2**17, 2, how="ddp"),
    Case("40.7M", 2**22, WHOLE, 3, least=8),
    Case("1.4M", 2**25, 2**18, 2),
    Case("1.4M", 2**25, WHOLE, 3, least=8),
    Case("40.7M", 2**25, 2**17, 1, least=8),
]
SMALL = [
    Case("tiny", 2**10, WHOLE, 2),
    Case("tiny", 2**10, 2**7, 2),
    Case("tiny", 2**10, WHOLE, 2, how="ddp"),
    Case("tiny", 2**10, WHOLE, 2, how="fsdp"),
]
HEADER = [
    "gpus",
    "model",
    "how",
    "bases_of_a_sequence",
    "chunk_of_a_gpu",
    "step_ms",
    "slowest_ms",
    "peak_gib_of_a_gpu",
    "bases_per_second",
    "times_first_count",
    "device",
    "torch",
]


class Worker:
    """One process of a count.

    Args:
        gpus: processes of the count.
        rank: this one.
        device: where it works.
    """

    def __init__(self, gpus: int, rank: int, device: torch.device) -> None:
        self.gpus, self.rank, self.device = gpus, rank, device
        self.ranks = ranks_of_context(gpus, gpus, device.type)

    def tokens(self, length: int, seed: int = 0) -> Tensor:
        """Return tokens, uint8 [1, length + 1], the same on all ranks for one seed."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randint(0, 4, (1, length + 1), generator=draw, dtype=torch.uint8).to(self.device)

    def build(self, name: str, how: str) -> tuple[LanguageModel, nn.Module]:
        """Build a model, and return it with the function that adds its gradients."""
        torch.manual_seed(0)
        width, depth = MODELS[name]
        model = LanguageModel(MambaConfig(d_model=width, n_layer=depth, vocab_size=8)).to(self.device)
        if self.gpus == 1 or how == "alone":
            return model, model
        if how == "fsdp":
            for block in model.backbone.blocks():
                fully_shard(block)
            return model, fully_shard(model)
        if how == "context":
            model.backbone.ranks = self.ranks
            return model, DistributedDataParallel(InParts(model, self.ranks))
        return model, DistributedDataParallel(model)

    def add_gradients(self, model: nn.Module, tokens: Tensor, case: Case, autocast: bool = True) -> Tensor:
        """Run forward and backward of this rank's share of the mean loss, and return it."""
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        parts = self.gpus if case.how == "context" else 1

        def mean_loss(logits: Tensor, bases: Tensor) -> Tensor:
            classes = logits.float().flatten(0, 1)
            return F.cross_entropy(classes, bases.long().flatten(), reduction="sum") * parts / targets.numel()

        def targets_of(span: slice) -> Tensor:
            return self.ranks.part(targets[:, span]) if parts > 1 else targets[:, span]

        with torch.autocast("cuda", torch.bfloat16, enabled=autocast and self.device.type == "cuda"):
            if case.chunk != WHOLE:
                no_sync = model.no_sync if isinstance(model, DistributedDataParallel) else nullcontext
                chunk = case.chunk * parts
                return chunked_backward(model, inputs, chunk, targets_of, mean_loss, no_sync=no_sync)
            loss = mean_loss(model(inputs).logits, targets_of(slice(None)))
        loss.backward()
        return loss.detach()

    def measure(self, case: Case) -> list[float]:
        """Return median and slowest milliseconds of a step, and the peak in GiB, of all ranks the largest."""
        model, called = self.build(case.model, case.how)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        tokens = self.tokens(case.length, 1 if case.how == "context" else 1 + self.rank)
        self.reset_peak()
        times = []
        for _ in range(1 + case.steps):
            self.wait()
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            self.add_gradients(called, tokens, case)
            optimizer.step()
            self.wait()
            times.append(1000 * (time.perf_counter() - start))
        found = torch.tensor([statistics.median(times[1:]), max(times[1:]), self.peak()], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()

    def errors(self, case: Case, autocast: bool) -> tuple[float, float]:
        """Return the largest relative difference between loss and gradients on all ranks and on one."""
        tokens = self.tokens(case.length)
        alone, called_alone = self.build(case.model, "alone")
        together, called = self.build(case.model, "context")
        loss = self.add_gradients(called_alone, tokens, case._replace(how="alone", chunk=WHOLE), autocast)
        ours = self.add_gradients(called, tokens, case, autocast)
        dist.all_reduce(ours)
        worst = max(
            float((found.grad - expected.grad).norm() / expected.grad.norm())
            for found, expected in zip(together.parameters(), alone.parameters(), strict=True)
        )
        return float((ours / self.gpus - loss).abs() / loss), worst

    def wait(self) -> None:
        """Wait until all processes have ended."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        dist.barrier()

    def reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0


def work(rank: int, gpus: int, store: str, on_gpu: bool, cases: list[Case], path: Path) -> None:
    """Work as one process of several; the first writes each row as soon as there is one."""
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=f"file://{store}", rank=rank, world_size=gpus,
        device_id=device if on_gpu else None,
    )  # fmt: skip
    worker = Worker(gpus, rank, device)
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    if gpus > 1:
        checked, length = ("1.4M", 2**17) if on_gpu else ("tiny", 2**8)
        for chunk, autocast in [(WHOLE, False), (WHOLE, True), (length // gpus // 4, True)]:
            loss, gradients = worker.errors(Case(checked, length, chunk, 1), autocast)
            if rank == 0:
                how = f"{gpus} GPUs, {checked}, {length:,} bases, chunk {chunk or 'whole'}, "
                how += "bf16" if autocast and on_gpu else "fp32"
                print(f"{how}: errors of loss {loss:.1e}, of gradients {gradients:.1e}", flush=True)
    for case in cases:
        if gpus < case.least:
            continue
        median, slowest, peak = worker.measure(case)
        if rank == 0:
            bases = case.length * (1 if case.how == "context" else gpus)
            row = [gpus, case.model, case.how, case.length, case.chunk or "whole"]
            row += [round(median, 1), round(slowest, 1), round(peak, 2), round(bases / median * 1000)]
            with path.open("a", newline="") as file:
                csv.writer(file).writerow([*row, name, torch.__version__])
            print(*row, flush=True)
    dist.barrier()
    dist.destroy_process_group()


def table(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows with their speed relative to the same case of the first count."""
    first: dict[tuple[str, ...], float] = {}
    found = []
    for row in rows:
        gpus, *case, median, slowest, peak, speed, device, version = row
        times = float(speed) / first.setdefault(tuple(case), float(speed))
        found.append([gpus, *case, median, slowest, peak, speed, f"{times:.2f}", device, version])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--gpus", type=int, nargs="*", help="counts; by default 1, 2, 4, ... of those there are"
    )
    parser.add_argument("--models", nargs="*", default=[*MODELS])
    parser.add_argument("--longest", type=int, default=2**25, help="leave out longer sequences")
    parser.add_argument("--cpu", action="store_true", help="tiny cases on processes of this machine's CPU")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/many_gpus"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    there = 2 if args.cpu else torch.cuda.device_count()
    counts = args.gpus or [1 << i for i in range(there.bit_length()) if 1 << i <= there]
    cases = [
        case
        for case in (SMALL if args.cpu else CASES)
        if case.model in args.models and case.length <= args.longest
    ]
    rows_path = args.out / "rows.csv"
    rows_path.unlink(missing_ok=True)
    began = time.perf_counter()
    for gpus in counts:
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(work, (gpus, f"{folder}/store", not args.cpu, cases, rows_path), nprocs=gpus)
        with rows_path.open(newline="") as file:
            rows = table(list(csv.reader(file)))
        with (args.out / "many_gpus.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
        print(f"after {time.perf_counter() - began:.0f} s", flush=True)
    rows_path.unlink()
    for row in rows:
        print(*row)


if __name__ == "__main__":
    main()
