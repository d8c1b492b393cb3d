"""Coding or intergenic: 256-base windows of the package's yeast genome, tested on chrVI."""

from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.suite.base import Published, Suite


class YeastCoding(Suite):
    """Does a window of 256 bases lie in a coding sequence? Trained on 14 chromosomes, validated on chrV."""

    name = "yeast_coding"
    reads_files = False
    metric = "accuracy"
    protocols = ("probe", "finetune")
    published = (
        Published(
            "the package's yeast model",
            "probe",
            0.7873,
            "dnamamba, measured 2026-11-28 on a CPU, seed 0",
            0.7519,
            0.8209,
        ),
        Published(
            "the package's yeast model",
            "finetune",
            0.823,
            "dnamamba, docs/finetuning.md of 2026-11-22, the default run",
            0.789,
            0.858,
        ),
    )

    def data(self) -> LabelledConfig:
        """Return the default data of a fine-tuning."""
        return LabelledConfig()
