"""Coding or intergenic: 256-base windows of the package's yeast genome, tested on chrVI."""

from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.suite.base import Suite


class YeastCoding(Suite):
    """Does a window of 256 bases lie in a coding sequence? Trained on 14 chromosomes, validated on chrV."""

    name = "yeast_coding"
    metric = "accuracy"
    protocols = ("probe", "finetune")

    def data(self) -> LabelledConfig:
        """The default data of a fine-tuning."""
        return LabelledConfig()
