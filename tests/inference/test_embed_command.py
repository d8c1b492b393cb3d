"""`python -m dnamamba.embed`: every format, runs that are killed, full disks, and one line a mistake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet
import pytest
from omegaconf import DictConfig

import dnamamba
from dnamamba import UserError, optional
from dnamamba.checkpoint import model_hash
from dnamamba.embed import run
from dnamamba.inference import partial
from tests import processes

WINDOWS = ("window=25", "batch_size=1")  # 200 contexts
SUFFIXES = (".npz", ".h5", ".zarr", ".parquet", ".h5ad", ".csv", ".tsv")


@pytest.fixture
def bed(tmp_path: Path) -> Path:
    path = tmp_path / "regions.bed"
    path.write_text("two\t10\t60\tgene\none\t450\t760\ntwo\t10\t60\ttwin\n")
    return path


def read(path: Path) -> tuple[np.ndarray, dict[str, list], dict[str, Any]]:
    """Vectors, columns and metadata of a file of any format."""
    columns = ("record", "start", "end", "name")
    if path.suffix == ".npz":
        file = np.load(path, allow_pickle=False)
        return file["embeddings"], {c: file[c].tolist() for c in columns}, json.loads(str(file["info"]))
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            text = {c: file[c].asstr()[:].tolist() for c in ("record", "name")}
            numbers = {c: file[c][:].tolist() for c in ("start", "end")}
            return file["embeddings"][:], text | numbers, dict(file.attrs)
    if path.suffix == ".zarr":
        import zarr

        group = zarr.open_group(path, mode="r")
        return group["embeddings"][:], {c: group[c][:].tolist() for c in columns}, dict(group.attrs)
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        info = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        return np.array(table["embedding"].to_pylist()), {c: table[c].to_pylist() for c in columns}, info
    if path.suffix in (".csv", ".tsv"):
        import pandas

        frame = pandas.read_csv(path, sep="," if path.suffix == ".csv" else "\t", keep_default_na=False)
        vectors = frame[[name for name in frame if name[1:].isdigit()]].to_numpy(np.float32)
        return vectors, {c: frame[c].tolist() for c in columns}, {}
    import anndata  # it, pandas and zarr take half a second each

    data = anndata.read_h5ad(path)
    return data.X, {c: data.obs[c].tolist() for c in columns}, dict(data.uns["dnamamba"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_holds_vectors_regions_and_provenance(
    embed: Callable[..., None], saved_model: Path, genome: Path, bed: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"regions{suffix}"
    embed(f"bed={bed}", f"out={out}", "layer=1", "strand=both")
    model = dnamamba.load(saved_model)
    expected = dnamamba.embed(model, (genome, bed), layer=1, strand="both")
    values, columns, info = read(out)
    np.testing.assert_array_equal(values, expected)
    assert columns == {
        "record": ["two", "one", "two"],
        "start": [10, 450, 10],
        "end": [60, 760, 60],
        "name": ["gene", "", "twin"],
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genome.fa", "regions.bed", out.name]
    if suffix in (".csv", ".tsv"):  # a table of text has no place for it
        return
    assert info["model_sha256"] == model_hash(model)
    assert (int(info["layer"]), info["pooling"], info["strand"]) == (1, "mean", "both")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_is_replaced_only_when_asked(
    embed: Callable[..., None], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"x{suffix}"
    embed(f"out={out}", "pool_every=500")
    with pytest.raises(UserError, match=r"is there already; set overwrite=true to replace it"):
        embed(f"out={out}")
    assert len(read(out)[0]) == 6 + 2 + 2
    embed(f"out={out}", "overwrite=true")
    assert len(read(out)[0]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genome.fa", out.name]


def test_only_a_zarr_store_is_replaced(embed: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "thesis.zarr").mkdir()
    (tmp_path / "thesis.zarr" / "chapter").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        embed(f"out={tmp_path / 'thesis.zarr'}", "overwrite=true")
    assert (tmp_path / "thesis.zarr" / "chapter").read_text() == "precious"


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
def test_a_vector_a_base(
    embed: Callable[..., None], saved_model: Path, genome: Path, bed: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"bases{suffix}"
    embed(f"bed={bed}", f"out={out}", "pooling=none")
    expected = dnamamba.embed(dnamamba.load(saved_model), (genome, bed), pooling="none")
    values, columns, _ = read(out)
    np.testing.assert_array_equal(values, np.concatenate(expected))
    import zarr

    opened = {".npz": np.load, ".h5": h5py.File, ".zarr": zarr.open_group}[suffix](out)
    assert opened["first_row"][:].tolist() == [0, 50, 360, 410]
    assert columns["record"] == ["two", "one", "two"]


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from dnamamba.embed import main
sys.argv = ["dnamamba-embed", *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize(("suffix", "size"), [(".npz", 3_000), (".h5", 13_000)])
def test_full_disk_is_one_line_and_loses_nothing(
    embed: Callable[..., None],
    saved_model: Path,
    genome: Path,
    tmp_path: Path,
    suffix: str,
    size: int,
) -> None:
    """No file may grow beyond `size`: the rows (12,800 bytes) do not fit, or the output."""
    out = tmp_path / f"full{suffix}"
    given = (f"model={saved_model}", f"fasta={genome}", "device=cpu", f"out={out}", *WINDOWS)
    done = processes.run("-c", FULL, str(size), *given)
    assert done.returncode == 1
    partial_folder = tmp_path / f".full{suffix}.partial"
    assert done.stderr == (
        f"dnamamba: error: can't write {out}: File too large; what is finished is in {partial_folder}: "
        "the same command resumes from there\n"
    )
    assert not out.exists()
    whole = tmp_path / "whole.npz"
    for path in (out, whole):
        embed(f"out={path}", *WINDOWS)
    np.testing.assert_array_equal(read(out)[0], read(whole)[0])


def test_too_little_space_is_said_before_the_work(
    embed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = partial.shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match=r"it takes 0.0 GB of disk while it is made, and 0.0 GB are free"):
        embed(f"out={tmp_path / 'x.npz'}", *WINDOWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genome.fa"]


@pytest.mark.parametrize(
    ("suffix", "package"), [(".h5", "h5py"), (".zarr", "zarr"), (".parquet", "pyarrow"), (".h5ad", "anndata")]
)
def test_a_missing_package_is_one_line(
    embed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    message = rf"^x{suffix} needs {package}, which is not installed: pip install 'dnamamba\[embed\]'$"
    with pytest.raises(UserError, match=message):
        embed(f"out={tmp_path / f'x{suffix}'}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("out=.npz",), "out=.npz: must be a file's name that ends in"),
        (("out=x.txt",), "out=x.txt: must be a file's name that ends in .npz or .h5 or"),
        (("out=x.h5ad", "pooling=none"), ".h5ad holds a vector per region"),
        (("out=x.npz", "layer=7"), "layer 7: the model has layers 0"),
        (("out=x.npz", "layer=all"), "layer: expected a whole number"),
        (("out=x.npz", "bed=absent.bed"), "bed: no such file, absent.bed"),
        (("out=x.npz", "fasta=damaged.fa.gz"), "damaged.fa.gz is truncated"),
        (("out=x.npz", "bed=past.bed"), "past.bed, row 1: ends at 2,000, but record two of "),
        (("out=x.npz", "batch_size=many"), "batch_size: must be auto or at least 1 (got 'many')"),
        (("fasta=genome.fa",), "out: must be given"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    embed: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    message: str,
) -> None:
    from Bio import bgzf

    monkeypatch.chdir(tmp_path)
    Path("past.bed").write_text("two\t0\t2000\n")
    with bgzf.open("whole.fa.gz", "wb") as file:
        file.write(b">one\n" + b"ACGT" * 40_000 + b"\n")
    Path("damaged.fa.gz").write_bytes(Path("whole.fa.gz").read_bytes()[:-40])
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        embed(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_command_in_an_empty_folder(saved_model: Path, genome: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    done = processes.run("dnamamba.embed", folder=folder)
    assert (done.returncode, done.stderr) == (1, "dnamamba: error: fasta, model, out: must be given\n")
    assert list(folder.iterdir()) == []
    given = (f"model={saved_model}", f"fasta={genome}", "device=cpu", "out=x.npz")
    done = processes.run("dnamamba.embed", *given, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 vectors of 16 from 5,000 bases in ")
    assert [path.name for path in folder.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("missing", ["nan", "drop", "error"])
def test_regions_of_n_are_treated_as_asked(
    inference_config: Callable[..., DictConfig],
    saved_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    fasta, bed, out = tmp_path / "n.fa", tmp_path / "n.bed", tmp_path / "out.npz"
    fasta.write_text(f">a\n{'ACGT' * 10}{'N' * 20}\n")
    bed.write_text("a\t40\t50\tgap\na\t0\t40\tgene\na\t45\t60\tgap\n")
    overrides = [f"model={saved_model}", f"fasta={fasta}", f"bed={bed}", f"out={out}", f"missing={missing}"]
    said = "2 of 3 regions have no known base, only N: a:41-50, a:46-60"
    if missing == "error":
        with pytest.raises(UserError, match=said):
            run(inference_config("embed", *overrides))
        assert not out.exists()
        return
    run(inference_config("embed", *overrides))
    assert f"{said}; missing={missing}" in capsys.readouterr().out
    values, columns, _ = read(out)
    assert columns["name"] == {"nan": ["gap", "gene", "gap"], "drop": ["gene"]}[missing]
    assert np.isnan(values[:, 0]).tolist() == [name == "gap" for name in columns["name"]]
    assert not (tmp_path / ".out.npz.partial").exists()
