"""Files of other programs, of models of every family and of finished runs that are fuzzed."""

from __future__ import annotations

import io
import json
import random
import wave
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnamamba.checkpoint import load, save_model
from dnamamba.data.fai import fai_lengths
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.homology import read_homology
from dnamamba.data.sound import read_sound
from dnamamba.models import (
    DecoderConfig,
    LanguageModel,
    MambaConfig,
    PositionConfig,
    PositionModel,
    SequenceModel,
)
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.reports.page import page
from tests.robustness.cells import MARK
from tests.robustness.fuzzing import Format, Unreadable, mutated
from tests.robustness.interval_files import bed_truth

FAI = b"chr1\t400\t14\t60\t61\nchr2\t300\t434\t60\t61\n1.10\t90\t750\t60\t61\n"
SPLITS = b"chr1\t0\t100\ttrain\nchr1\t100\t150\tvalid\nchr2\t5\t250\ttest\n1.10\t0\t40\ttrain\t.\t+\n"
HOMOLOGY = b"chromosome\thuman\tsource\nchr1\t1\tx\nchr2A\t2\tx\nchr5\t5,17\tx\nchrX\tchrX\tx\n"
RESULTS = {
    "task": "classification",
    "headline": "accuracy",
    "verdict": "better than every baseline",
    "data": {"summary": "6 sequences", "notes": ["none is in two splits"]},
    "chosen": ["mean"],
    "valid": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}, "loss": {"value": 0.7}},
    "test": {"accuracy": {"value": None}, "confusion": [[1, 0], [1, 1]]},
    "baselines": {"6-mers": {"test": {"accuracy": {"value": 0.5}}}},
}


def read_lengths(path: Path) -> dict[str, int]:
    """Bases of each record, without the FASTA."""
    return fai_lengths(path)


def fai_truth(data: bytes) -> dict[str, int]:
    """The first two columns of five."""
    text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    if any(len(row) != 5 for row in rows) or len({row[0] for row in rows}) != len(rows):
        raise Unreadable("a row without five columns, or a name twice")
    return {row[0]: int(row[1]) for row in rows}


def read_splits(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Intervals of each split."""
    found = read_split_intervals(path)._asdict()
    return {name: [tuple(interval) for interval in intervals] for name, intervals in found.items()}


def splits_truth(data: bytes) -> dict[str, list[tuple[str, int, int]]]:
    """By the fourth column of a BED."""
    found: dict[str, list[tuple[str, int, int]]] = {"train": [], "valid": [], "test": []}
    for name, start, end, *others in bed_truth(data):
        found[others[0].strip()].append((name, start, end))
    return found


def read_table_of_chromosomes(path: Path) -> dict[str, list[str]]:
    """Human chromosomes of each."""
    return {name: sorted(human) for name, human in read_homology(path).items()}


def chromosomes_truth(data: bytes) -> dict[str, list[str]]:
    """Two columns by their names in the first line."""
    try:
        header, *lines = (
            data.removeprefix(MARK).decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
        )
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    names = header.split("\t")
    if names.count("chromosome") != 1 or names.count("human") != 1:
        raise Unreadable("a column is not there once")
    rows = [line.split("\t") for line in lines if line.strip()]
    places = names.index("chromosome"), names.index("human")
    if len({row[places[0]] for row in rows}) != len(rows):
        raise Unreadable("a chromosome is there twice")
    found = [[row[place] for place in places] for row in rows]
    return {
        name: sorted({part.strip().removeprefix("chr") for part in human.split(",")}) for name, human in found
    }


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """Change the text, or one value of it to one of another kind."""
    if rng.random() < 0.4:
        return mutated(data, rng)
    document = json.loads(data)
    node, key = rng.choice(list(_places(document)))
    node[key] = rng.choice(
        (None, True, -1, 0, 1.5, 1e308, 2**70, "", "x", "NaN", [], [1], {}, {"a": 1}, float("nan"), [[None]])
    )
    return json.dumps(document).encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def sound() -> bytes:
    """A WAV file of a tenth of a second."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((8000 * np.sin(np.arange(1600) / 9)).astype("<i2").tobytes())
    return out.getvalue()


def models() -> dict[str, torch.nn.Module]:
    """One of each family and kind of answer that `config.json` says."""
    small = MambaConfig(8, 1, d_state=2)
    return {
        "hyena": LanguageModel(HyenaConfig(d_model=8, n_layer=1, max_length=64)),
        "transformer": LanguageModel(TransformerConfig(d_model=8, n_layer=1, d_head=4)),
        "numbers": SequenceModel(small, DecoderConfig("regression", ("value",), "mean", 1.0, 2.0)),
        "bases": PositionModel(
            small, PositionConfig("base_classes", ("-", "x+", "x-"), (0, 2, 1), 16, chain=True)
        ),
        "tracks": PositionModel(
            small, PositionConfig("signal", ("a",), (0,), 16, bin=4, loss="mse", means=(1.0,))
        ),
    }


def _of_models(folder: Path) -> Iterator[Format]:
    """Configurations changed by hand, which have no checksum: read as a model that answers, or refused."""
    for name, model in models().items():
        place = folder / f"{name}-model"
        save_model(model, place)  # type: ignore[arg-type]
        document = json.loads((place / "config.json").read_text())
        document.pop("sha256", None)
        yield Format(
            f"{place.name}/config.json", [json.dumps(document).encode()], _loaded, None, changed_json
        )


def _loaded(path: Path) -> str:
    return type(load(path.parent)).__name__


def _page(path: Path) -> int:
    return len(page(path.parent))


def other_formats(folder: Path) -> Iterator[Format]:
    """Those of this file; `folder` takes what they share."""
    yield Format("alone.fai", [FAI], read_lengths, fai_truth)
    yield Format("splits.bed", [SPLITS], read_splits, splits_truth)
    yield Format("homology.tsv", [HOMOLOGY], read_table_of_chromosomes, chromosomes_truth)
    if find_spec("soundfile") is not None:  # of the extra `audio`
        yield Format("s.wav", [sound()], lambda path: len(read_sound(path, 16_000)))
    yield from _of_models(folder)
    (folder / "run").mkdir()
    yield Format("run/metrics.json", [json.dumps(RESULTS).encode()], _page, None, changed_json)
