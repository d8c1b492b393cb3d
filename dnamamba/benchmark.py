"""`python -m dnamamba.benchmark`: a model's scores on a benchmark. See conf/benchmark.yaml."""

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.lean import load_torchmetrics
from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, output_dir, typed


def run(cfg: DictConfig) -> None:
    """Run the benchmark that `cfg` names, into Hydra's output folder."""
    check_given(cfg)
    check_paths(cfg, "model")
    load_torchmetrics(OmegaConf.to_container(cfg))
    from dnamamba.commands.benchmark import BenchmarkConfig, benchmark  # imports torch

    benchmark(typed(cfg, BenchmarkConfig, ""), output_dir())


def main() -> None:
    """Run the command `dnamamba benchmark`."""
    command(run, "benchmark")


if __name__ == "__main__":
    main()
