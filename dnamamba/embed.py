"""`python -m dnamamba.embed`: embeddings to a file. See conf/embed.yaml.

`dnamamba.embed` itself stays the function: the package turns this module away as an attribute.
"""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Embed as `cfg` says."""
    check_given(cfg)
    check_paths(cfg, "model", "fasta", "bed")
    from dnamamba.commands.embed import EmbedConfig, embed_to_file  # imports torch

    embed_to_file(typed(cfg, EmbedConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-embed`."""
    command(run, "embed")


if __name__ == "__main__":
    main()
