"""A block that reads both ways as one operator: no flipped copies, shared projections, little kept."""

from .api import BidirectionalWeights, DirectionWeights, bidirectional_block

__all__ = ["BidirectionalWeights", "DirectionWeights", "bidirectional_block"]
