"""Numbers per bin of a genome, from bigWig and bedGraph."""

from dnamamba.datasets.tracks.config import TracksConfig
from dnamamba.datasets.tracks.data import TracksData

__all__ = ["TracksConfig", "TracksData"]
