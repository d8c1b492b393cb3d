"""How much faster several GPUs pretrain than one, on the package's yeast genome.

    python benchmarks/data_parallel.py --gpus 2 --strategies ddp,fsdp

The same 2^21 bases a step on one GPU and on several, 1.4M model, windows of 2^10 and of 2^17, no validation:
medians of the bases a second that the runs log. Needs no network.
"""

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

BASES, AT_A_TIME = 2**21, 2**20


def bases_per_second(power: int, gpus: int, strategy: str, folder: Path) -> float:
    settings = [
        "model=paper_1m4",
        "trainer=gpu",
        f"trainer.devices={gpus}",
        f"trainer.strategy={strategy}",
        f"data.max_length={2**power}",
        f"data.batch_size={AT_A_TIME // 2**power}",
        f"train.global_batch_size={BASES // 2**power}",
        "data.markov_orders=[]",
        "data.valid=[]",
        "data.test=[]",
        "train.max_steps=40",
        "train.log_every=5",
        "train.checkpoint_every=1000",
        "train.validate_every=1000",
        f"hydra.run.dir={folder.absolute()}",
    ]
    subprocess.run([sys.executable, "-m", "dnamamba.pretrain", *settings], check=True)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row.get("train/bases_per_second") for row in csv.DictReader(file)]
    return statistics.median(float(row) for row in rows if row)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--strategies", default="ddp")
    parser.add_argument("--powers", type=int, nargs="*", default=[10, 17], help="of the windows' lengths")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/data_parallel"))
    options = parser.parse_args()
    rows = []
    for power in options.powers:
        alone = bases_per_second(power, 1, "auto", options.out / f"1_2p{power}")
        rows.append([f"2^{power}", 1, "auto", round(alone), 1.0])
        for strategy in options.strategies.split(","):
            folder = options.out / f"{options.gpus}_{strategy}_2p{power}"
            together = bases_per_second(power, options.gpus, strategy, folder)
            rows.append([f"2^{power}", options.gpus, strategy, round(together), round(together / alone, 3)])
    with (options.out / "data_parallel.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "gpus", "strategy", "bases_per_second", "times_one"])
        writer.writerows(rows)
    for row in rows:
        print(*row)


if __name__ == "__main__":
    main()
