"""`python -m dnamamba.demo`: a tour on the package's genome, as one HTML page. See conf/demo.yaml."""

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.lean import load_torchmetrics
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Take the tour that `cfg` describes and write its page."""
    load_torchmetrics(OmegaConf.to_container(cfg))
    from dnamamba.commands.demo import DemoConfig, demo  # imports torch

    demo(typed(cfg, DemoConfig, ""))


def main() -> None:
    """Run the console script `dnamamba demo`."""
    command(run, "demo")


if __name__ == "__main__":
    main()
