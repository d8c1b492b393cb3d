"""A whole Mamba block as one operator that keeps next to nothing for its backward."""

from .api import Block, BlockWeights, mamba_block, mamba_block_after

__all__ = ["Block", "BlockWeights", "mamba_block", "mamba_block_after"]
