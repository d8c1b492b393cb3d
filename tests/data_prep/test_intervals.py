import numpy as np
import pytest

from data_prep.intervals import main, split_by_chromosome
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.data.intervals import Interval, Splits
from dnamamba.errors import UserError


@pytest.fixture
def fasta(tmp_path):
    """chr1 of 10,000 bases with a run of 2,000 N at 3,000 and a single N at 100; chr2 and chr10 of 2,500."""
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), 15_000)
    letters[3000:5000] = letters[100] = ord("N")
    text = letters.tobytes().decode()
    path = tmp_path / "g.fa"
    path.write_text(f">chr1\n{text[:10_000]}\n>chr2\n{text[10_000:12_500]}\n>chr10\n{text[12_500:]}\n")
    return path


def test_chromosomes_are_held_out_whole_cut_between_n(fasta):
    genome = Genome(fasta, get_alphabet("dna"))
    splits = split_by_chromosome(genome, valid=["chr10"], test=["chr2"], length=1200)
    starts = [0, 1200, 5000, 6200, 7400, 8600]
    assert splits == Splits(
        tuple(Interval("chr1", start, start + 1200) for start in starts),
        tuple(Interval("chr10", start, start + 1200) for start in (0, 1200)),
        tuple(Interval("chr2", start, start + 1200) for start in (0, 1200)),
    )


def test_file_is_read_back_in_order_of_genome(fasta, tmp_path, capsys):
    out = tmp_path / "out.bed"
    command = [str(fasta), str(out), "--valid", "chr2", "--test", "chr10", "--length", "2000"]
    assert main(command) == 0
    assert capsys.readouterr().out == (
        f"{out}  train 3 segments, 6,000 bases; valid 1 segments, 2,000 bases; test 1 segments, 2,000 bases\n"
    )
    assert out.read_text() == (
        "chr1\t0\t2000\ttrain\nchr1\t5000\t7000\ttrain\nchr1\t7000\t9000\ttrain\n"
        "chr2\t0\t2000\tvalid\nchr10\t0\t2000\ttest\n"
    )
    again = tmp_path / "again.bed"
    shuffled = tmp_path / "shuffled.bed"
    shuffled.write_text("".join(line + "\textra\n" for line in reversed(out.read_text().splitlines())))
    assert main([str(fasta), str(again), "--bed", str(shuffled)]) == 0
    assert again.read_text() == out.read_text()
    assert len(read_split_intervals(again).train) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--valid", "chr3", "--test", "chr2"], "no record 'chr3'; did you mean"),
        (
            ["--valid", "chr2", "--test", "chr10", "--length", "2600"],
            "no interval without N of the split 'valid'",
        ),
        (["--valid", "chr2", "--test", "chr10", "--length", "0"], "--length: must be at least 1 (got 0)"),
        (["--bed", "missing.bed"], "missing.bed: No such file"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(fasta, tmp_path, capsys, arguments, message):
    assert main([str(fasta), str(tmp_path / "out.bed"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.bed").exists()


@pytest.mark.parametrize("arguments", [[], ["--valid", "chr2"], ["--valid", "chr2", "--bed", "x"]])
def test_how_to_split_is_said_once(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["g.fa", "out.bed", *arguments])
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_intervals_of_a_chromosome_are_held_out(fasta):
    genome = Genome(fasta, get_alphabet("dna"))
    splits = split_by_chromosome(
        genome, valid=["chr1:6000-7000", "chr10"], test=["chr1:7500-8500"], length=500
    )
    assert splits.valid == tuple(
        Interval(name, start, start + 500)
        for name, starts in (("chr1", (6000, 6500)), ("chr10", range(0, 2500, 500)))
        for start in starts
    )
    assert splits.test == (Interval("chr1", 7500, 8000), Interval("chr1", 8000, 8500))
    of_chr1 = [interval.start for interval in splits.train if interval.name == "chr1"]
    assert of_chr1 == [0, 500, 1000, 1500, 2000, 2500, 5000, 5500, 7000, 8500, 9000, 9500]


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [
        ("chr2", "chr2", "--valid and --test name bases of chr2 twice"),
        ("chr1:0-100", "chr1:99-200", "--valid and --test name bases of chr1 twice"),
        ("chr1:9000-10001", "chr2", "chr1 has 10,000 bases, and chr1:9000-10001 is not in them"),
        ("chr1:5-5", "chr2", "chr1 has 10,000 bases, and chr1:5-5 is not in them"),
        ("chr3:0-100", "chr2", "no record 'chr3'; did you mean"),
    ],
)
def test_held_out_chromosomes_exist_and_are_named_once(fasta, valid, test, message):
    genome = Genome(fasta, get_alphabet("dna"))
    with pytest.raises(UserError, match=message):
        split_by_chromosome(genome, valid=[valid], test=[test], length=100)
