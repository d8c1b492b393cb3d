"""Transformer++: the baseline of the Mamba paper, with rotary positions, SwiGLU and RMSNorm."""
