"""`python -m dnamamba.export`: a model as another package's folder. See conf/export.yaml."""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Export as `cfg` says."""
    check_given(cfg)
    check_paths(cfg, "model")
    from dnamamba.commands.export import ExportConfig, export_to_folder  # imports torch

    export_to_folder(typed(cfg, ExportConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-export`."""
    command(run, "export")


if __name__ == "__main__":
    main()
