"""What `contexts` holds, by the name that it had in version 0.1."""

from dnamamba.inference.contexts import EmbeddingConfig, Plan

__all__ = ["EmbeddingConfig", "Plan"]
