"""`python -m dnamamba.generate`: new sequence from a trained model. See conf/generate.yaml."""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Generate as `cfg` says."""
    if cfg.model is None and cfg.out is None:
        cfg.out = "???"  # only a text model prints its answer, and the package's own reads bases
    check_given(cfg, ("prompt", "fasta"))
    check_paths(cfg, "model", "fasta", "prompt_file", "tokenizer")
    from dnamamba.commands.generate import GenerateConfig, generate_to_file  # imports torch

    generate_to_file(typed(cfg, GenerateConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-generate`."""
    command(run, "generate")


if __name__ == "__main__":
    main()
