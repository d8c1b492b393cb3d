"""Differentiable sequence operators on channel-last [B, L, E] tensors, each with interchangeable backends."""

from .backend import BACKENDS, resolve, use
from .causal_conv1d import Convolution, causal_conv1d
from .selective_scan import Scan, selective_scan

__all__ = ["BACKENDS", "Convolution", "Scan", "causal_conv1d", "resolve", "selective_scan", "use"]
