"""Damaged inputs of every kind: one line that names the file, or what an independent reading gives."""

from pathlib import Path

import pytest

from dnamamba import UserError
from tests.robustness.formats import formats
from tests.robustness.fuzzing import Format, Unreadable, fuzz

# Files fuzzed in the ordinary run: FASTA is indexed and flushed to the disk each time.
NUMBERS = {
    "g.fa": 20, "g.fasta.gz": 20, "b.fa.gz": 20, "r.bed": 40, "r.bed.gz": 40, "p.narrowPeak": 20,
    "names.bed": 20, "a.gff3": 60, "a.gtf": 60,
    "s.bedgraph": 60, "s.bw": 8, "frames.gff3": 60, "introns.gtf": 40, "classes.bed": 60, "blocks.bed": 40,
    "v.vcf": 100, "v.vcf.gz": 100, "t.csv": 100, "t.tsv": 60, "t.csv.gz": 60, "t.xlsx": 20, "t.parquet": 100,
    "one/config.json": 100, "other/model.safetensors": 60, "x.yaml": 20, "last.ckpt": 60,
    "hf-config/config.json": 60, "hf-model/model.safetensors": 40, "state_spaces-config/config.json": 60,
    "state_spaces-pytorch_model/pytorch_model.bin": 40, "caduceus/config.json": 60,
    "alone.fai": 40, "splits.bed": 40, "homology.tsv": 40, "s.wav": 40, "run/metrics.json": 60,
    "transformer-model/config.json": 40, "numbers-model/config.json": 40,
    "bases-model/config.json": 40, "tracks-model/config.json": 60,
}  # fmt: skip


# By checksums, which hardly a change passes.
CHECKED = ("other/model.safetensors", "last.ckpt", "state_spaces-pytorch_model/pytorch_model.bin")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def form_of(name: str, folder: Path) -> Format:
    found = [form for form in formats(folder) if form.name == name]
    return found[0] if found else pytest.skip(f"{name}: its package is not installed")


@pytest.mark.parametrize("name", NUMBERS)
def test_damaged_files_are_refused_or_read_right(name: str, tmp_path: Path) -> None:
    counts = fuzz(form_of(name, tmp_path), seed=0, folder=tmp_path, number=NUMBERS[name])
    assert counts.failures == []
    assert counts.refused > 0
    assert counts.read > 0 or name in CHECKED, "the seeds or the changes test nothing"


@pytest.mark.robustness
@pytest.mark.parametrize("name", NUMBERS)
def test_damaged_files_by_the_thousand(name: str, tmp_path: Path) -> None:
    counts = fuzz(form_of(name, tmp_path), seed=1, folder=tmp_path, seconds=15)
    assert counts.failures == []


def test_every_format_is_fuzzed(tmp_path: Path) -> None:
    found = formats(tmp_path)
    assert set(NUMBERS) - {form.name for form in found} <= {"t.xlsx", "s.bw", "s.wav"}
    for form in found:  # whole files are read, and read right
        for seed in form.seeds:
            (tmp_path / form.name).write_bytes(seed)
            read = form.read(tmp_path / form.name)
            assert form.truth is None or read == form.truth(seed)


def reader_that(does: str) -> Format:
    """A format whose reader is wrong in one way."""

    def read(path: Path) -> bytes:
        if does == "a traceback":
            return {}["x"]  # type: ignore[no-any-return]
        if does == "a message without the file":
            raise UserError("something is wrong")
        return b"" if does == "a wrong value" else path.read_bytes()

    def truth(data: bytes) -> bytes:
        if does == "a damaged file read":
            raise Unreadable("it is damaged")
        return data

    return Format("x.txt", [b"ACGT" * 10], read, truth)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("a traceback", "KeyError"),
        ("a message without the file", "does not name the file"),
        ("a wrong value", "read as b''"),
        ("a damaged file read", "read, but it is damaged"),
    ],
)
def test_a_reader_that_is_wrong_is_found(does: str, said: str, tmp_path: Path) -> None:
    counts = fuzz(reader_that(does), seed=0, folder=tmp_path, number=5)
    assert len(counts.failures) >= 4
    assert said in counts.failures[0]


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    made: list[list[bytes]] = [[], [], []]
    for number, seed in enumerate((0, 0, 1)):
        form = Format(
            "x.txt", [b"ACGT\nGG\n", b"1\t2"], lambda path, to=made[number]: to.append(path.read_bytes())
        )
        fuzz(form, seed, tmp_path, number=50)
    assert made[0] == made[1] != made[2]
    assert len(set(made[0])) > 40
