"""`python -m dnamamba.predict`: answers of a fine-tuned model, to a file. See conf/predict.yaml.

`dnamamba.predict` itself stays the function: the package turns this module away as an attribute.
"""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Predict as `cfg` says."""
    check_given(cfg, ("fasta", "table"))
    check_paths(cfg, "model", "fasta", "bed", "table", "labels", "vcf")
    from dnamamba.commands.predict import PredictConfig, predict_to_file  # imports torch

    predict_to_file(typed(cfg, PredictConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-predict`."""
    command(run, "predict")


if __name__ == "__main__":
    main()
