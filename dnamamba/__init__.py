"""dnamamba: byte-level Mamba models of long DNA.

Names are imported when they are first used: `import dnamamba` alone costs no torch, Lightning or Triton.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "DecoderConfig": "dnamamba.models",
    "FinetuneTrainConfig": "dnamamba.training.config",
    "Finetuning": "dnamamba.training.finetuning",
    "Genome": "dnamamba.data.fasta",
    "GenomeConfig": "dnamamba.datasets.genome",
    "LabelledConfig": "dnamamba.datasets.labelled",
    "LanguageModel": "dnamamba.models",
    "MambaConfig": "dnamamba.models",
    "Pretraining": "dnamamba.training.pretraining",
    "RegionsConfig": "dnamamba.data.regions",
    "SequenceModel": "dnamamba.models",
    "SpeciesConfig": "dnamamba.datasets.species",
    "TrainConfig": "dnamamba.training.config",
    "TrainerConfig": "dnamamba.training.config",
    "UserError": "dnamamba.errors",
    "causal_conv1d": "dnamamba.kernels",
    "embed": "dnamamba.inference.embedding",
    "generate": "dnamamba.inference.generation",
    "get_alphabet": "dnamamba.data.alphabet",
    "load": "dnamamba.checkpoint",
    "predict": "dnamamba.inference.prediction",
    "predict_positions": "dnamamba.inference.position_prediction",
    "save_model": "dnamamba.checkpoint",
    "score_variants": "dnamamba.inference.variants",
    "selective_scan": "dnamamba.kernels",
    "tracks": "dnamamba.inference.tracks",
}

__all__ = ["__version__", *sorted(_HOME)]


class _Package(ModuleType):
    """This package, in which a public function keeps its name although a command's module has the same.

    `python -m dnamamba.embed` needs a module of that name, and importing a submodule sets it as an attribute
    of its package. That is turned away for public names; the module stays in `sys.modules`, so that
    `from dnamamba.embed import main` works as ever.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnamamba' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
