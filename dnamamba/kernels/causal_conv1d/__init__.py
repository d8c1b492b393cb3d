"""The short causal depthwise convolution in front of the selective scan."""

from .api import Convolution, causal_conv1d

__all__ = ["Convolution", "causal_conv1d"]
