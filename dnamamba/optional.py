"""Packages that only some commands need."""

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from dnamamba import __version__
from dnamamba.errors import UserError


class Extra(NamedTuple):
    """What an extra of pip brings.

    Attributes:
        adds: what can be done with it.
        packages: names that pip knows, the first of which does most of it.
    """

    adds: str
    packages: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if installed(name) is None]


EXTRAS = {
    "cpu": Extra("compiled kernels on a CPU, 3 times as fast", ("numba",)),
    "embed": Extra("embeddings as HDF5, Zarr, Parquet, AnnData", ("h5py", "zarr", "pyarrow", "anndata")),
    "parquet": Extra("tables in Parquet", ("pyarrow",)),
    "excel": Extra("tables in .xlsx", ("openpyxl",)),
    "tracks": Extra("bigWig, read and written; bigBed, read", ("pyBigWig",)),
    "plots": Extra("UMAP in maps of embeddings", ("umap-learn",)),
    "lora": Extra("fine-tuning with LoRA adapters", ("peft",)),
    "hub": Extra("models of the Hugging Face Hub, to and fro", ("huggingface_hub",)),
    "weights": Extra("published models by name, without a clone", ("pooch",)),
    "text": Extra("text models with a tokenizer", ("tokenizers",)),
    "audio": Extra("WAV and other sound files", ("soundfile",)),
    "tensorboard": Extra("logger=tensorboard", ("tensorboard",)),
    "wandb": Extra("logger=wandb", ("wandb",)),
    "mlflow": Extra("logger=mlflow", ("mlflow-skinny", "sqlalchemy", "alembic")),
    "sweep": Extra("sweeps by Optuna", ("hydra-optuna-sweeper",)),
    "slurm": Extra("the jobs of a sweep on SLURM", ("hydra-submitit-launcher",)),
    "audit": Extra("benchmark linter=seqleak", ("seqleak",)),
}
"""The extras for users, in the order of docs/install.md."""
CORE = ("torch", "triton", "lightning", "numpy", "pyfaidx", "biopython")
"""The packages whose versions may decide a result."""
# Distributions that bring the same package: mlflow-skinny is a part of mlflow.
_INSTEAD = {"mlflow-skinny": "mlflow"}


def installed(package: str) -> str | None:
    """Return the version of a package that pip knows by this name, or None."""
    for name in (package, _INSTEAD.get(package)):
        try:
            if name is not None:
                return version(name)
        except PackageNotFoundError:
            continue
    return None


def need(package: str, extra: str, what: str) -> None:
    """Say what to install before any work is done.

    Args:
        package: the name it is imported by.
        extra: of dnamamba, that brings it.
        what: needs it.

    Raises:
        UserError: the package is not installed.
    """
    if find_spec(package) is None:
        raise UserError(f"{what} needs {package}, which is not installed: pip install 'dnamamba[{extra}]'")


def versions() -> dict[str, str]:
    """Return the versions of dnamamba, Python and the core's packages, of those that are installed."""
    found = {"dnamamba": __version__, "python": platform.python_version()}
    return found | {name: number for name in CORE if (number := installed(name)) is not None}
