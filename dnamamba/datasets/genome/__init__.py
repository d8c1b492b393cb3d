"""Windows of one genome."""

from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.datasets.genome.data import GenomeData

__all__ = ["GenomeConfig", "GenomeData"]
