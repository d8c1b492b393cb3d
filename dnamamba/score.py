"""`python -m dnamamba.score`: effects of variants. See conf/score.yaml."""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Score as `cfg` says."""
    check_given(cfg, ("vcf", "region"))
    check_paths(cfg, "model", "fasta", "vcf")
    from dnamamba.commands.score import ScoreConfig, score  # imports torch

    score(typed(cfg, ScoreConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-score`."""
    command(run, "score")


if __name__ == "__main__":
    main()
