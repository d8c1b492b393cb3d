"""Small models, DNA to read, and composed configurations, for tests of what uses a trained model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from dnamamba import Genome, LanguageModel, MambaConfig, get_alphabet, save_model
from dnamamba.config import composed
from dnamamba.embed import run
from dnamamba.score import run as run_score


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(MambaConfig(d_model=24, n_layer=3, d_state=4)).eval()


def random_dna(length: int, seed: int = 0) -> str:
    """Letters, one in twenty of them N."""
    draw = np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", dtype=np.uint8), length)
    draw[np.random.default_rng(seed + 1).random(length) < 0.05] = ord("N")
    return draw.tobytes().decode()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with logits that matter, as an exported folder."""
    torch.manual_seed(0)
    model = LanguageModel(MambaConfig(d_model=16, n_layer=2))
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.1)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(model, folder)
    return folder


@pytest.fixture
def inference_config() -> Callable[..., DictConfig]:
    """Compose a file of conf/ with overrides, as its command does."""
    return lambda name, *overrides: composed(name, overrides)


@pytest.fixture
def embed(
    inference_config: Callable[..., DictConfig], saved_model: Path, genome: Path
) -> Callable[..., None]:
    """`dnamamba embed` of the saved model and the genome, on the CPU."""
    return lambda *overrides: run(
        inference_config("embed", f"model={saved_model}", f"fasta={genome}", "device=cpu", *overrides)
    )


@pytest.fixture
def text(genome: Path) -> str:
    """The first record, whose bases 501 to 700 are N."""
    alphabet = get_alphabet("dna")
    return alphabet.decode(Genome(genome, alphabet).fetch("one"))


@pytest.fixture
def score(
    inference_config: Callable[..., DictConfig], saved_model: Path, genome: Path
) -> Callable[..., None]:
    """`dnamamba score` of the saved model and the genome."""
    own = (f"model={saved_model}", f"fasta={genome}", "window=64")
    return lambda *overrides: run_score(inference_config("score", *own, *overrides))
