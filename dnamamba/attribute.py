"""`python -m dnamamba.attribute`: attribute a prediction to bases. See conf/attribute.yaml."""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Attribute as `cfg` says."""
    check_given(cfg)
    check_paths(cfg, "model", "fasta")
    from dnamamba.commands.attribute import AttributeConfig, attribute_region  # imports torch

    attribute_region(typed(cfg, AttributeConfig, ""))


def main() -> None:
    """Run the command `dnamamba attribute`."""
    command(run, "attribute")


if __name__ == "__main__":
    main()
