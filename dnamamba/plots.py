"""Pictures of results as functions: a map of embeddings, a track above genes, a logo of mutagenesis.

Each returns a Matplotlib `Figure`: `figure.savefig("map.png", dpi=150)`, or `.svg`, `.pdf`. docs/plots.md has
a recipe for each.
"""

from matplotlib.figure import Figure

from dnamamba.data.gene_models import GeneModel, gene_models
from dnamamba.data.intervals import Interval
from dnamamba.inference.attribution import Attribution
from dnamamba.inference.saturation import Saturation
from dnamamba.reports.attribution import attribution_figure
from dnamamba.reports.gene_track import gene_track
from dnamamba.reports.maps import coordinates, embedding_map
from dnamamba.reports.saturation import saturation_figure

__all__ = ["GeneModel", "Interval", "coordinates", "embedding_map", "gene_models", "gene_track", "logo"]


def logo(found: Saturation | Attribution, what: str = "") -> Figure:
    """Draw the bases of a region as letters, as high as they matter, above a map of every change.

    Args:
        found: of `dnamamba.inference.saturation.saturate` or `dnamamba.inference.attribution.attribute`.
        what: the values are, with their unit; '': as `found` says.
    """
    region, letters = found.region, found.letters
    if isinstance(found, Saturation):
        return saturation_figure(letters, found.llr, region.name, region.start + 1, what or "LLR (nats)")
    return attribution_figure(
        letters, found.values, found.contribution, region.name, region.start + 1, what or found.unit
    )
