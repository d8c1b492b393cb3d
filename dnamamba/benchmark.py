"""`python -m dnamamba.benchmark`: what a model is worth on a benchmark. See conf/benchmark.yaml."""

from omegaconf import DictConfig

from dnamamba.config import command, output_dir, typed


def run(cfg: DictConfig) -> None:
    """Run the benchmark that `cfg` names, into Hydra's output folder."""
    from dnamamba.commands.benchmark import BenchmarkConfig, benchmark  # imports torch

    benchmark(typed(cfg, BenchmarkConfig, ""), output_dir())


def main() -> None:
    """The command `dnamamba benchmark`."""
    command(run, "benchmark")


if __name__ == "__main__":
    main()
