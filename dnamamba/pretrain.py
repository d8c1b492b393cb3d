"""`python -m dnamamba.pretrain`: pretrain a language model on a genome. See conf/pretrain.yaml."""

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.lean import load_torchmetrics
from dnamamba.commands.paths import check_data, check_given, check_paths
from dnamamba.commands.sweep import Headline
from dnamamba.config import command, output_dir


def run(cfg: DictConfig) -> Headline | None:
    """Pretrain as `cfg` says, into Hydra's output folder."""
    check_given(cfg)
    check_paths(cfg, "ckpt_path")
    check_data(cfg.data)
    # torch and Lightning take seconds: only once the configuration is right
    load_torchmetrics(OmegaConf.to_container(cfg))
    from dnamamba.commands.pretrain import pretrain_and_judge

    return pretrain_and_judge(cfg, output_dir())[1]


def main() -> None:
    """Run the console script `dnamamba-pretrain`."""
    command(run, "pretrain")


if __name__ == "__main__":
    main()
