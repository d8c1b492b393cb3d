"""`python -m dnamamba.plan`: what a pretraining run would do, before it is begun. See conf/plan.yaml."""

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.lean import load_torchmetrics
from dnamamba.config import command


def run(cfg: DictConfig) -> None:
    """Print the plan of the run that `cfg` describes."""
    # torch takes seconds: only once the configuration is right
    load_torchmetrics(OmegaConf.to_container(cfg))
    from dnamamba.commands.plan import print_plan

    print_plan(cfg)


def main() -> None:
    """Run the console script `dnamamba-plan`."""
    command(run, "plan")


if __name__ == "__main__":
    main()
