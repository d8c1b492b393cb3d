"""Windows of several genomes, labelled by species."""

from dnamamba.datasets.species.config import SpeciesConfig
from dnamamba.datasets.species.data import SpeciesData

__all__ = ["SpeciesConfig", "SpeciesData"]
