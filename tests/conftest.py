"""Small genomes and composed configurations, for tests of whole runs."""

import gc
import os
import tempfile
from pathlib import Path

# The models here are small: a second thread gains nothing, and waits long where another process has the core.
# Set before torch is imported, and for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# The CPU kernels are compiled once, not once in each process and each run.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"dnamamba-kernels-{os.getuid()}"))

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import settings
from omegaconf import DictConfig

import tests.offline  # noqa: F401  (no test reaches the network)
from dnamamba.commands.lean import load_torchmetrics
from dnamamba.config import composed
from tests import composing

load_torchmetrics({})  # as the commands do, without the packages that it would load for nobody
composing.quicken()

# Deadlines fail on a loaded machine; a test that hangs has pytest's own.
settings.register_profile("dnamamba", deadline=None)
settings.load_profile("dnamamba")

TINY = (
    "model.d_model=16",
    "model.n_layer=1",
    "data.max_length=32",
    "data.batch_size=4",
    "data.valid_windows=8",
    "data.markov_orders=[0,2]",
    "train.global_batch_size=8",
    "train.max_steps=6",
    "train.validate_every=3",
    "train.checkpoint_every=1",
    "train.log_every=1",
)


# The longest first, so that no process is at one of them while the others have ended.
LONGEST = ("test_notebooks.py", "test_triton_interpreted.py", "test_many_processes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Have the collector pass over what libraries loaded: a run asks for it several times, 0.15 s each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder out of the tests, and the tests out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    """Three records of 3,000, 1,000 and 1,000 bases; `one` has a run of N."""
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), 5_000)
    letters[500:700] = ord("N")
    text = letters.tobytes().decode()
    path = tmp_path / "genome.fa"
    path.write_text(f">one\n{text[:3000]}\n>two\n{text[3000:4000]}\n>three\n{text[4000:]}\n")
    return path


@pytest.fixture
def undrawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have runs make their figures but not draw them, which takes half of a small run's time.

    A test that is marked `drawn` has its pictures; tests/reports and tests/test_escaping.py draw each kind.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("drawn"):
            # By name: the import of Matplotlib is left to who needs it.
            patch.setattr("dnamamba.reports.figures.draw", lambda figure, path: Path(path).write_bytes(b""))
        yield


@pytest.fixture
def configure(undrawn: None) -> Callable[..., DictConfig]:
    """Compose conf/pretrain.yaml with overrides, as the command line does."""
    return lambda *overrides: composed("pretrain", overrides)


@pytest.fixture
def tiny(configure: Callable[..., DictConfig], genome: Path) -> Callable[..., DictConfig]:
    """A configuration whose run takes a second."""
    own = (f"data.fasta={genome}", "data.valid=[two]", "data.test=[three]")
    return lambda *overrides: configure(*TINY, *own, *overrides)
