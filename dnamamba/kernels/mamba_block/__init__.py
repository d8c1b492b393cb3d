"""A whole Mamba block as one operator that keeps next to nothing for its backward."""

from .api import Block, BlockWeights, is_fused, mamba_block, mamba_block_after

__all__ = ["Block", "BlockWeights", "is_fused", "mamba_block", "mamba_block_after"]
