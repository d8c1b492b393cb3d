"""One long name among many records: what is kept and written is bounded by the text, not by its width."""

import io
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet
import pytest

from dnamamba import Genome, get_alphabet
from dnamamba.inference.contexts import EmbeddingConfig, Plan
from dnamamba.inference.embedding import read_embeddings
from dnamamba.inference.inputs import Region, read_inputs
from dnamamba.inference.outputs import Result, write_result
from dnamamba.inference.streaming import Reader
from dnamamba.models import LanguageModel, MambaConfig

LONG = "n" * 20_000
REGIONS = [Region(LONG, 0, 4, "é", "-"), *(Region(f"r{i}", i, i + 4) for i in range(400))]
INFO: dict[str, str | int] = {"format": "dnamamba-embeddings", "layer": 1}


def result(regions: list[Region]) -> Result:
    values = np.arange(2 * len(regions), dtype=np.float32).reshape(-1, 2)
    return Result(values, Plan(regions, EmbeddingConfig()).table(), None, INFO)


def records(path: Path) -> list[str]:
    """The column `record` of a file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["record"].tolist()
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["record"].asstr()[:].tolist()
    if path.suffix == ".zarr":
        import zarr  # it and anndata take half a second each

        return zarr.open_group(path, mode="r")["record"][:].tolist()
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)["record"].to_pylist()
    import anndata

    return anndata.read_h5ad(path).obs["record"].tolist()


def test_a_table_keeps_each_name_once() -> None:
    table = Plan(REGIONS * 10, EmbeddingConfig(window=2)).table()
    assert table.record.nbytes == 8 * 2 * 10 * len(REGIONS)
    assert sum(sys.getsizeof(name) for name in {id(n): n for n in table.record.tolist()}.values()) < 50_000
    assert table.regions()[1] == Region(LONG, 0, 2, "é", "-")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr", ".parquet", ".h5ad"])
def test_every_format_holds_long_name_in_little_room(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"o{suffix}"
    made = result(REGIONS)
    tracemalloc.start()
    write_result(made, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records(path) == [region.record for region in REGIONS]
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 2_000_000  # 32 MB as NumPy's text
    assert peak < 16_000_000


def test_ordinary_names_are_written_as_numpy_writes_them(tmp_path: Path) -> None:
    made = result(REGIONS[1:])
    write_result(made, tmp_path / "o.npz")
    with np.load(tmp_path / "o.npz", allow_pickle=False) as file:
        arrays = dict(file)
    expected = io.BytesIO()
    np.savez(expected, **arrays)
    assert (tmp_path / "o.npz").read_bytes() == expected.getvalue()
    assert arrays["record"].dtype == np.dtype("<U4")
    np.testing.assert_array_equal(arrays["embeddings"], made.values)


def test_records_are_kept_before_the_first_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept one by one between the large temporaries of a model, they would cost 32 kB each."""
    (tmp_path / "g.fa").write_text("".join(f">c{i}\n{'ACGT' * 3}\n" for i in range(50)))
    genome = Genome(tmp_path / "g.fa", get_alphabet("dna"))
    reader = Reader(LanguageModel(MambaConfig(d_model=8, n_layer=1, d_state=2)).eval())
    inputs = read_inputs(genome, reader.alphabet)
    before, seen = Reader.hidden_of_rows, []

    def hidden(*args: Any, **options: Any) -> Any:
        seen.append(len(genome._records))
        return before(*args, **options)

    monkeypatch.setattr(Reader, "hidden_of_rows", hidden)
    plan = Plan(inputs.regions, EmbeddingConfig())
    assert sum(len(part.values) for part in read_embeddings(reader, inputs, plan, batch_size=10)) == 50
    assert seen == [50] * 5
