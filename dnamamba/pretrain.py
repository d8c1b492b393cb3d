"""`python -m dnamamba.pretrain`: pretrain a language model on a genome. See conf/pretrain.yaml."""

from omegaconf import DictConfig

from dnamamba.config import command, output_dir


def run(cfg: DictConfig) -> None:
    """Pretrain as `cfg` says, into Hydra's output folder."""
    # torch and Lightning take seconds: only once the configuration is right
    from dnamamba.commands.pretrain import pretrain

    pretrain(cfg, output_dir())


def main() -> None:
    """The console script `dnamamba-pretrain`."""
    command(run, "pretrain")


if __name__ == "__main__":
    main()
