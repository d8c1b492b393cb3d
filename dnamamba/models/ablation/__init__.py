"""Layers and blocks that the Mamba paper compares with its own (sections 4.1 and 4.6), in one family."""
