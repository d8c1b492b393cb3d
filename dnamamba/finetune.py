"""`python -m dnamamba.finetune`: fine-tune a model on labelled sequences. See conf/finetune.yaml."""

from omegaconf import DictConfig, OmegaConf

from dnamamba.commands.lean import load_torchmetrics
from dnamamba.commands.paths import check_data, check_given, check_paths
from dnamamba.commands.sweep import Headline
from dnamamba.config import command, output_dir


def run(cfg: DictConfig) -> Headline | None:
    """Fine-tune, predict or plan as `cfg` says, into Hydra's output folder."""
    if cfg.mode != "plan":
        check_given(cfg)
        check_paths(cfg, *([] if cfg.model == "scratch" else ["model"]), "ckpt_path")
        check_data(cfg.data, to_train=cfg.mode == "train")
    # torch and Lightning take seconds: only once the configuration is right
    if cfg.mode == "predict":
        from dnamamba.commands.predict_mode import predict

        predict(cfg, output_dir())
    elif cfg.mode == "plan":
        load_torchmetrics(OmegaConf.to_container(cfg))
        from dnamamba.commands.plan import print_finetuning_plan

        print_finetuning_plan(cfg)
    else:
        load_torchmetrics(OmegaConf.to_container(cfg))
        from dnamamba.commands.finetune import finetune_and_judge

        return finetune_and_judge(cfg, output_dir())[1]
    return None


def main() -> None:
    """Run the console script `dnamamba-finetune`."""
    command(run, "finetune")


if __name__ == "__main__":
    main()
