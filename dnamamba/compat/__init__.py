"""mamba_ssm's and causal-conv1d's functions, with their signatures and layouts, on our kernels.

Nothing is compiled at install, and all of it runs on a CPU too. Tensors are channel-first here, [B, E, L].
"""

from dnamamba.compat.conv import causal_conv1d_fn, causal_conv1d_update
from dnamamba.compat.inner import mamba_inner_fn
from dnamamba.compat.mamba_ssm import stand_in_for_mamba_ssm
from dnamamba.compat.peers import use_in_transformers
from dnamamba.compat.scan import selective_scan_fn, selective_state_update

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "mamba_inner_fn",
    "selective_scan_fn",
    "selective_state_update",
    "stand_in_for_mamba_ssm",
    "use_in_transformers",
]
