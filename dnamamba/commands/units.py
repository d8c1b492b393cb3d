"""Numbers that have two keys, of which one is given."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from dnamamba.auto import AUTO

UNITS = (
    ("data.batch_size", "data.bases_per_batch"),
    ("data.valid_windows", "data.valid_bases"),
    ("train.global_batch_size", "train.bases_per_step"),
    ("train.max_steps", "train.epochs"),
)


def last_unit(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Drop a file's key where the command line gives the other one: windows or bases, steps or epochs."""
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    for pair in UNITS:
        for key, other in (pair, pair[::-1]):
            asked = key in given and OmegaConf.select(cfg, key) not in (None, AUTO)
            if asked and other not in given and OmegaConf.select(cfg, other) is not None:
                OmegaConf.update(cfg, other, AUTO if other == "train.max_steps" else None)
