"""The Lightning module of a run, by its name of version 0.1."""

from dnamamba.training.module import Task as NextBase

__all__ = ["NextBase"]
