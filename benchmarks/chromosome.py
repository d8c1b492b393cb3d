"""A whole chromosome as one context: embeddings of 1 kb bins to HDF5, and a track of every base as bigWig.

    python benchmarks/chromosome.py --model RUN --fasta chr20.fa.gz --record 20 --region 20:35000001-35300000

Both run as their commands do, from the files on the disk to the files on the disk. GPU seconds are those
between the first operation of a piece and the end of its copy to the host, by CUDA events, summed. Where the
FASTA file is soft-masked (repeats in lower case), the picture marks repeats, and a table has bits per base in
them and outside.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyBigWig
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tables import write_table

from dnamamba.commands.embed import EmbedConfig, embed_to_file
from dnamamba.commands.tracks import TracksConfig, tracks_to_bigwig
from dnamamba.data.intervals import Interval
from dnamamba.data.reader import RecordReader
from dnamamba.data.regions import parse_region
from dnamamba.inference import streaming
from dnamamba.reports.figures import GRID, HELD_OUT, MUTED, SURFACE, save_figure

SMOOTH = 1_000  # bases
BLOCK = 1 << 22


class GpuClock:
    """Sums the GPU's time for pieces, by events around what `Reader` and `fetched` enqueue."""

    def __init__(self) -> None:
        self._begin: list[torch.cuda.Event] = []
        self._end: list[torch.cuda.Event] = []
        hidden, copied = streaming.Reader.hidden, streaming._copied

        def timed_hidden(*args: Any, **options: Any) -> Any:
            self._begin.append(_event())
            return hidden(*args, **options)

        def timed_copied(tensors: Any) -> Any:
            result = copied(tensors)
            self._end.append(_event())
            return result

        streaming.Reader.hidden = timed_hidden  # type: ignore[method-assign]
        streaming._copied = timed_copied

    def seconds(self) -> float:
        """Return the seconds since the last call."""
        torch.cuda.synchronize()
        total = sum(a.elapsed_time(b) for a, b in zip(self._begin, self._end, strict=True)) / 1e3
        self._begin.clear()
        self._end.clear()
        return total


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def measure(
    name: str, make: Callable[[], None], made: Path, bases: int, clock: GpuClock | None
) -> dict[str, object]:
    """Run one command; its row of the table."""
    if clock is not None:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    make()
    wall = time.perf_counter() - began
    row = {
        "what": name,
        "bases": bases,
        "gpu_s": round(clock.seconds(), 3) if clock else "",
        "wall_s": round(wall, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if clock else "",
        "file_mb": round(made.stat().st_size / 1e6, 1),
        "device": torch.cuda.get_device_name() if clock else "cpu",
        "torch": torch.__version__,
    }
    print(row, flush=True)
    return row


def soft_masked(fasta: Path, record: str) -> NDArray[np.bool_]:
    """Return which bases of a record are in lower case."""
    return np.concatenate([letters >= ord("a") for letters in RecordReader(fasta).letters(record)])


def by_repeat(track: Path, record: str, mask: NDArray[np.bool_]) -> list[dict[str, object]]:
    """Return bits per base in repeats and outside, over the whole record."""
    file = pyBigWig.open(str(track))
    total, count = np.zeros(2), np.zeros(2, dtype=np.int64)
    for start in range(0, mask.size, BLOCK):
        inside = mask[start : start + BLOCK]
        bits = -file.values(record, start, start + inside.size, numpy=True)
        there = np.isfinite(bits)
        for kind in (0, 1):
            chosen = bits[there & (inside == kind)]
            total[kind] += chosen.sum()
            count[kind] += chosen.size
    names = ("outside repeats", "in repeats")
    rows = [
        {"where": name, "bases": int(count[i]), "bits_per_base": round(float(total[i] / max(count[i], 1)), 4)}
        for i, name in enumerate(names)
    ]
    whole = {
        "where": "all",
        "bases": int(count.sum()),
        "bits_per_base": round(float(total.sum() / count.sum()), 4),
    }
    return [*rows, whole]


def smoothed(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over `SMOOTH` bases around each, of those that have a value."""
    there = np.isfinite(bits)
    kernel = np.ones(SMOOTH)
    number = np.convolve(there, kernel, mode="same")
    return np.convolve(np.where(there, bits, 0), kernel, mode="same") / np.maximum(number, 1)


def draw(
    track: Path, region: Interval, mask: NDArray[np.bool_], rows: list[dict[str, object]], model: str
) -> Figure:
    """Return the smoothed bits per base along a region, with its repeats marked below."""
    bits = -pyBigWig.open(str(track)).values(*region, numpy=True).astype(float)
    line = smoothed(bits)
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    position = np.arange(region.start, region.end) / 1e6
    axes.plot(position[::50], line[::50], color=HELD_OUT, linewidth=1.0)
    low = float(np.nanmin(line)) - 0.12
    marked = " (repeats as grey bars)" if rows else ""
    inside = mask[region.start : region.end]
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False)).reshape(-1, 2)
    axes.broken_barh(
        [(position[0] + a / 1e6, (b - a) / 1e6) for a, b in edges.tolist()],
        (low, 0.06),
        color=MUTED,
        linewidth=0,
    )
    axes.set_xlim(position[0], position[-1])
    axes.set_ylim(low - 0.02, None)
    name = region.name if len(region.name) <= 24 else f"{region.name[:23]}…"
    axes.set_xlabel(f"record {name}, Mb{marked}")
    axes.set_ylabel("bits per base, mean of 1 kb")
    axes.grid(axis="y", color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    title = f"{model} along {(region.end - region.start) / 1e3:.0f} kb, read as one context"
    if rows:
        told = ", ".join(f"{row['where']} {row['bits_per_base']}" for row in rows)
        title += f"\nbits per base of the whole record: {told}"
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a chromosome as one context.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--fasta", type=Path, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--region", required=True, help="NAME:START-END of the picture, from 1")
    parser.add_argument("--label", default="the 1.4M model", help="what the picture calls the model")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/chromosome"), help="small results")
    parser.add_argument("--large", type=Path, help="where the HDF5 and bigWig files go; --out by default")
    args = parser.parse_args()
    large = args.large or args.out
    for folder in (args.out, large):
        folder.mkdir(parents=True, exist_ok=True)
    lengths = RecordReader(args.fasta).lengths
    region = parse_region(args.region, lengths)
    bases = lengths[args.record]
    mask = soft_masked(args.fasta, args.record)
    bed = args.out / "record.bed"
    bed.write_text(f"{args.record}\t0\t{bases}\n")
    common: dict[str, Any] = {
        "model": args.model, "fasta": str(args.fasta), "bed": str(bed), "strand": "forward",
        "device": "auto", "precision": "auto", "overwrite": True,
    }  # fmt: skip
    embeddings, track = large / "embeddings_1kb.h5", large / "log_likelihood.bw"
    clock = GpuClock() if torch.cuda.is_available() else None

    def embed(out: Path) -> None:
        embed_to_file(
            EmbedConfig(
                **common,
                out=str(out),
                layer=-1,
                pooling="mean",
                pool_every=1000,
                window=None,
                stride=None,
                batch_size="auto",
            )
        )

    def write_track() -> None:
        tracks_to_bigwig(TracksConfig(**common, out=str(track), quantity="log_likelihood", context=0))

    if clock is not None:  # Triton compiles at first use, once a machine
        bed.write_text(f"{args.record}\t0\t{min(bases, 1 << 21)}\n")
        embed(large / "warm.h5")
        clock.seconds()
        bed.write_text(f"{args.record}\t0\t{bases}\n")
    rows = [
        measure("embeddings of 1 kb bins, HDF5", lambda: embed(embeddings), embeddings, bases, clock),
        measure("log-likelihood of every base, bigWig", write_track, track, bases, clock),
    ]
    write_table(rows, args.out / "chromosome.csv")
    repeats = by_repeat(track, args.record, mask) if mask.any() else []
    if repeats:
        write_table(repeats, args.out / "repeats.csv")
    for row in repeats:
        print(row)
    save_figure(draw(track, region, mask, repeats, args.label), args.out / "chromosome.png")
    bits = pyBigWig.open(str(track)).values(*region, numpy=True)
    with h5py.File(embeddings) as file:
        bins = slice(region.start // 1000, -(-region.end // 1000))
        np.savez_compressed(
            args.out / "slice.npz",
            log_likelihood=bits.astype(np.float16),
            repeat=mask[region.start : region.end],
            embeddings=file["embeddings"][bins].astype(np.float16),
            bin_start=file["start"][bins],
        )


if __name__ == "__main__":
    main()
