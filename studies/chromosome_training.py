"""Does context beyond 2^17 bases help a model that is trained on it? Exact and truncated gradients compared.

    python studies/chromosome_training.py prepare CHR20.fa.gz CHRX.fa.gz     # no GPU needed
    python studies/chromosome_training.py run                                # on a GPU
    python studies/chromosome_training.py report

The 1.4M model of docs/models that was trained up to 2^17 bases is trained further, for some steps of as many
bases in every run: `exact`, one sequence of `--length` bases by chunks; `truncated`, the same, with gradients
cut at the borders of chunks; `windows`, as many windows of 2^17. `untrained` is the model as it was. With
`--length chromosome` sequences are whole records, and `windows` have as many bases as the longest. A run that
is in `--out` is not run again; one that was stopped is resumed.

Held out is the end of chrX, 8.3 Mb, which the model has never seen. It is read as one sequence from many
beginnings, so that a base is met at many positions, and the same bases once more with a context of 2^16 to
2^17 bases: the difference of the two is what a position brings. The table is chromosome_training.csv, the
picture chromosome_training.png.
"""

import argparse
import csv
import gzip
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnamamba import Genome, GenomeConfig, Pretraining, TrainConfig, TrainerConfig, get_alphabet, load
from dnamamba.models.reading import read_pieces

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "docs" / "models" / "human_1m4_2p17"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WAYS = ("untrained", "exact", "windows", "truncated")
WINDOW = 2**17
CHUNK = 2**18
# Of chrX: where the held-out part of the model's own training begins, and where its file ends.
HELD_OUT, END = 61_682_012, 69_999_930
# Edges of the positions that are averaged over.
EDGES = [0, *(2**power for power in range(12, 23))]
COLUMNS = ("run", "seed", "from", "to", "bases", "perplexity", "perplexity_2p17")


def prepare(chromosomes: list[Path], out: Path) -> None:
    """Write one FASTA of chr20, chrX up to the held-out part, and that part, in upper case."""
    out.mkdir(parents=True, exist_ok=True)
    first, second = (letters_of(path) for path in chromosomes)
    records = {"20": first, "X": second[:HELD_OUT], "held_out": second[HELD_OUT:END]}
    with gzip.open(out / "chromosomes.fa.gz", "wb", compresslevel=6) as file:
        for name, letters in records.items():
            file.write(f">{name}\n".encode())
            for start in range(0, len(letters), 2**16):
                file.write(letters[start : start + 2**16] + b"\n")


def letters_of(path: Path) -> bytes:
    """Return the only record of a FASTA file, upper case."""
    with gzip.open(path, "rb") as file:
        next(file)
        return b"".join(line.strip().upper() for line in file)


def pretraining(way: str, arguments: argparse.Namespace) -> Pretraining:
    """Build a run with random weights; `train` replaces them with the model's."""
    length: Any = arguments.length if arguments.length == "chromosome" else int(arguments.length)
    at_once = length if isinstance(length, int) else HELD_OUT
    long: dict[str, Any] = {"max_length": length, "batch_size": 1}
    chunks: dict[str, Any] = {"chunk_bases": arguments.chunk, "global_batch_size": 1}
    if way == "windows":
        windows = max(1, at_once // WINDOW)
        rows = max(rows for rows in (8, 4, 2, 1) if windows % rows == 0)
        long, chunks = {"max_length": WINDOW, "batch_size": rows}, {"global_batch_size": windows}
    if way == "truncated":
        chunks["backpropagation"] = "truncated"
    return Pretraining(
        arguments.out / f"{way}_seed{arguments.seed}",
        data=GenomeConfig(
            fasta=str(arguments.data / "chromosomes.fa.gz"),
            train=["20", "X"],
            valid=["held_out"],
            valid_windows=1,
            markov_orders=[],
            **long,
        ),
        model=load(MODEL).config,
        train=TrainConfig(
            seed=arguments.seed,
            max_steps=arguments.steps,
            learning_rate=arguments.learning_rate,
            log_every=1,
            validate_every=10**6,
            checkpoint_every=50,
            **chunks,
        ),
        trainer=TrainerConfig(accelerator=DEVICE, precision="bf16-mixed" if DEVICE == "cuda" else "32-true"),
        ckpt_path="auto",
    )


def train(way: str, arguments: argparse.Namespace) -> Path:
    """Train a run if it is not finished yet, and return its folder."""
    made = pretraining(way, arguments)
    folder = Path(made.folder)
    if not (folder / "results.json").is_file():
        run = made.build()
        run.model.load_state_dict(load(MODEL).state_dict())
        run.execute()
    return folder


def nats_of(model: Any, tokens: Tensor, chunk: int) -> Iterator[Tensor]:
    """Yield the nats of each base but the first of [1, L], read as one sequence: float32 [l] per chunk."""
    done = 0
    precision = torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda)
    for read in read_pieces(model.backbone, tokens[:, :-1].split(chunk, 1), precision=precision):
        targets = tokens[0, done + 1 : done + 1 + read.tokens.shape[1]].long()
        with torch.no_grad():
            logits = model.head(read.hidden)[0].float()
        yield F.cross_entropy(logits, targets, reduction="none")
        done += read.tokens.shape[1]


def short_context(model: Any, tokens: Tensor) -> Tensor:
    """Return each base's nats after 2^16 to 2^17 bases, float32 [L - 1]; NaN where there are fewer."""
    half = WINDOW // 2
    found = torch.full((tokens.shape[1] - 1,), math.nan, device=tokens.device)
    for start in range(0, tokens.shape[1] - 1 - half, half):
        window = tokens[:, start : start + WINDOW + 1]
        nats = torch.cat(list(nats_of(model, window, WINDOW)))
        found[start + half : start + len(nats)] = nats[half:]
    return found


def by_position(model: Any, tokens: Tensor, beginnings: int, chunk: int) -> list[dict[str, float]]:
    """Return the mean perplexity between EDGES, with all bases before and with a short context.

    Args:
        model: a language model, on the device of the tokens.
        tokens: uint8 [1, L], the held-out sequence.
        beginnings: places to begin at, evenly spaced; each sequence continues to the end.
        chunk: positions read at a time.
    """
    length = tokens.shape[1] - 1
    counts = torch.from_numpy(get_alphabet("dna").scored.copy()).to(tokens.device)[tokens[0, 1:].int()]
    short = short_context(model, tokens)
    edges = [edge for edge in EDGES if edge < length] + [length]
    sums = np.zeros((len(edges) - 1, 3))
    for start in np.linspace(0, length, beginnings, endpoint=False).astype(int).tolist():
        nats = torch.cat(list(nats_of(model, tokens[:, start:], chunk)))
        known = counts[start:] & ~short[start:].isnan()
        for number, (first, last) in enumerate(pairwise(edges)):
            rows = known[first:last]
            both = torch.stack([part[first:last][rows].double().sum() for part in (nats, short[start:])])
            sums[number] += [int(rows.sum()), *both.tolist()]
    return [
        {
            "from": first,
            "to": last,
            "bases": int(bases),
            "perplexity": math.exp(long / bases),
            "perplexity_2p17": math.exp(other / bases),
        }
        for (first, last), (bases, long, other) in zip(pairwise(edges), sums.tolist(), strict=True)
        if bases
    ]


def run(arguments: argparse.Namespace) -> None:
    """Train and read every way that has no numbers yet."""
    alphabet = get_alphabet("dna")
    tokens = None
    for way in arguments.ways:
        name = f"{way}_seed{arguments.seed}"
        numbers = arguments.out / f"{name}.csv"
        if numbers.is_file():
            continue
        began = time.perf_counter()
        model = load(MODEL if way == "untrained" else train(way, arguments)).to(DEVICE).eval()
        trained = time.perf_counter() - began
        if tokens is None:
            held_out = Genome(arguments.data / "chromosomes.fa.gz", alphabet).fetch("held_out")
            tokens = torch.from_numpy(held_out.copy())[None].to(DEVICE)
        rows = by_position(model, tokens, arguments.beginnings, CHUNK)
        arguments.out.mkdir(parents=True, exist_ok=True)
        with numbers.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows({"run": way, "seed": arguments.seed, **row} for row in rows)
        print(f"{name}: {trained:.0f} s to train, {time.perf_counter() - began - trained:.0f} s to read; "
              f"perplexity {rows[-1]['perplexity']:.5f} at the longest positions, "
              f"{rows[-1]['perplexity_2p17']:.5f} with 2^17", flush=True)  # fmt: skip


def report(out: Path) -> None:
    """Gather the tables of all runs into chromosome_training.csv, and draw them."""
    rows = [row for path in sorted(out.glob("*_seed*.csv")) for row in csv.DictReader(path.open(newline=""))]
    with (out / "chromosome_training.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colours = dict(zip(WAYS, ("0.5", "tab:green", "tab:blue", "tab:orange"), strict=True))
    for way, seed in dict.fromkeys((row["run"], row["seed"]) for row in rows):
        mine = [row for row in rows if (row["run"], row["seed"]) == (way, seed)]
        position = [math.sqrt(max(int(row["from"]), 2**11) * int(row["to"])) for row in mine]
        found, short = (np.array([float(row[key]) for row in mine]) for key in COLUMNS[-2:])
        left.plot(position, found, ".-", color=colours[way], label=f"{way}, seed {seed}")
        right.plot(position, 100 * (found / short - 1), ".-", color=colours[way])
    right.axhline(0, color="0.8", zorder=0)
    for axes, title in (
        (left, "perplexity"),
        (right, "change compared with the same bases\nafter 2^16 to 2^17 bases, %"),
    ):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("position in the sequence, bases")
        axes.set_ylabel(title)
    left.legend()
    figure.savefig(out / "chromosome_training.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("prepare", "run", "report"))
    parser.add_argument(
        "chromosomes", nargs="*", type=Path, help="prepare: chr20 and the first 70 Mb of chrX"
    )
    parser.add_argument("--data", type=Path, default=Path("logs/chromosomes/data"))
    parser.add_argument("--out", type=Path, default=Path("logs/chromosomes"), help="of runs and the report")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--length", default=str(2**21), help="bases of a sequence, or chromosome")
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--beginnings", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.mode == "prepare":
        prepare(arguments.chromosomes, arguments.data)
    elif arguments.mode == "run":
        run(arguments)
    else:
        report(arguments.out)


if __name__ == "__main__":
    main()
