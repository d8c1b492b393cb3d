"""Where float64 is made: in `kernels/exact.py` alone, which does it on the host for a device without.

No such device is at hand. What is watched instead is every operation while a model embeds, scores, predicts
and is fine-tuned: one that makes a float64 tensor of others, or of nothing, must be called from that file, or
from code that works on the host.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dnamamba
import dnamamba.config
import dnamamba.models.pooling
from dnamamba import DecoderConfig, Genome, LanguageModel, MambaConfig, SequenceModel, get_alphabet
from dnamamba.commands.finetune import finetune
from dnamamba.kernels.exact import exact, exact_device
from dnamamba.objectives.next_base import NextBase
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.chunks import chunked_backward
from tests.finetuning.conftest import SHORT, write_table

PACKAGE = str(Path(dnamamba.__file__).parent)
# What only ever sees tensors of the host: metrics of gathered answers, the draws of a bootstrap.
ON_THE_HOST = (
    "kernels/exact.py",
    "heads/",
    "inference/prediction.py",
    "objectives/sequence.py",
    "training/fits/",
)


class Float64(TorchDispatchMode):
    """Notes the file and line of every operation of the package that makes float64 of something else."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [x for x in (result if isinstance(result, tuple | list) else [result]) if _is_double(x)]
        flat = [x for each in args for x in (each if isinstance(each, tuple | list) else [each])]
        if made and not any(map(_is_double, flat)):
            self.places.add(_caller())
        return result


def _is_double(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float64


def _caller() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{name.removeprefix(PACKAGE)[1:]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


@contextmanager
def watched() -> Iterator[set[str]]:
    with Float64() as mode:
        yield mode.places


def stray(places: set[str]) -> set[str]:
    return {place for place in places if place != "elsewhere" and not place.startswith(ON_THE_HOST)}


def test_a_double_made_anywhere_else_is_noticed() -> None:
    with watched() as places:
        dnamamba.models.pooling.torch.zeros(2, dtype=torch.float64)
        exact(torch.ones(2))
    assert places == {"elsewhere", f"kernels/exact.py:{_line_of('double()')}"}


def _line_of(text: str) -> int:
    lines = (Path(PACKAGE) / "kernels/exact.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_reading_makes_doubles_in_one_place(tmp_path: Path) -> None:
    backend = "chunked"  # of a device that has no kernels of its own
    letters = "".join(np.random.default_rng(0).choice(list("ACGTN"), 300))
    (tmp_path / "g.fa").write_text(f">a\n{letters.replace('N', 'C')}\n")
    genome = Genome(tmp_path / "g.fa", get_alphabet("dna"))
    model = LanguageModel(MambaConfig(8, 2), backend).eval()
    asked = SequenceModel(
        MambaConfig(8, 1), DecoderConfig("classification", ("a", "b"), "mean"), backend
    ).eval()
    base = letters.replace("N", "C")[99]
    variants = [("a", 100, base, "A" if base != "A" else "C")]
    with watched() as places:
        for pooling in ("mean", "last", "none"):
            dnamamba.embed(model, [letters, letters[:9]], pooling=pooling, strand="both")  # type: ignore[call-overload]
        dnamamba.embed(model, [letters], pool_every=50)
        dnamamba.tracks(model, [letters], strand="both")
        for each in (model, asked):
            dnamamba.score_variants(each, genome, variants, window=60)
        dnamamba.predict(asked, [letters, letters[:9]], strand="both")
    assert stray(places) == set()
    assert any(place.startswith("kernels/exact.py") for place in places)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_fine_tuning_makes_doubles_in_one_place(tmp_path: Path, task: str) -> None:
    table = write_table(tmp_path / "t.csv", kind=task)
    cfg = dnamamba.config.composed(
        "finetune", [*SHORT, f"data.table={table}", f"data.task={task}", "train.max_steps=2"]
    )
    with watched() as places:
        finetune(cfg, tmp_path / "run")
    assert stray(places) == set()
    assert any(place.startswith("kernels/exact.py") for place in places)


def test_training_by_chunks_makes_doubles_in_one_place() -> None:
    backend, draw = "chunked", torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 4, (2, 20), generator=draw, dtype=torch.uint8)
    batch = {"tokens": tokens, "lengths": torch.tensor([20, 9]), "labels": torch.tensor([0, 1])}
    model = LanguageModel(MambaConfig(8, 1), backend)
    made = [
        (NextBase(model.config).chunks(model, batch), False),
        (NextBase(model.config).chunks(model, batch), True),
    ]
    for mode in ("last", "mean", "next"):
        decoder = DecoderConfig("classification", ("a", "b"), mode)
        asked = SequenceModel(MambaConfig(8, 1), decoder, backend)
        made.append((SequenceObjective(decoder, TaskConfig(), None, "left").chunks(asked, batch), False))
    with watched() as places:
        for (*given, after), truncated in made:
            chunked_backward(*given[:2], 7, *given[2:], after=after, truncated=truncated)
    assert stray(places) == set()
    assert any(place.startswith("kernels/exact.py") for place in places)


def test_a_device_without_doubles_counts_on_the_host() -> None:
    assert exact_device("mps") == torch.device("cpu")
    assert exact_device(torch.device("cuda:1")) == torch.device("cuda:1")
    assert exact(torch.tensor([1, 2])).dtype == torch.float64
