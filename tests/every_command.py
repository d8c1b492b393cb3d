"""Run every command of an installed dnamamba, as its user does: `python tests/every_command.py`.

Not a test of the suite: it is for a wheel in a fresh environment, before a release (CONTRIBUTING.md), and is
started by the Python of that environment. It works in a temporary folder, takes some minutes, and ends with
status 1 if a command fails. What an extra brings is tried where the extra is installed.
"""

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

FASTA = ">chr1\n" + "ACGTTGCATTGACCATGGAACTTAGGC" * 200 + "\n>chr2\n" + "GATTACATTGCCAATGCCGTA" * 200 + "\n"
BED = "chr1\t10\t80\ta\t0\t+\nchr1\t100\t170\tb\t0\t-\nchr2\t20\t90\tc\t0\t+\n"
GFF = "".join(f"chr{1 + i % 2}\t.\tCDS\t{50 * i + 1}\t{50 * i + 30}\t.\t+\t0\tID=c{i}\n" for i in range(60))
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\t5\t.\tT\tA\t.\t.\t.\n"
TABLE = "sequence,label\n" + "".join(f"{'ACGTTGCA' * (2 + i % 3)},{'ab'[i % 2]}\n" for i in range(60))
TRAIN = ("train.max_steps=2", "train.global_batch_size=2", "data.batch_size=2")
GENOME = ("data.fasta=g.fa", "data.train=[chr1]", "data.valid=[chr2]", "data.test=[]")
TUNE = (*TRAIN, "task.bootstrap=10", "task.baselines=false")
COMMANDS: list[tuple[str | None, str, tuple[str, ...]]] = [
    (None, "info", ()),
    (None, "demo", ("steps=5", "out=demo.html")),
    (None, "plan", ("experiment=hg38/context_2p20_1m4", "plan.device=h200")),
    (None, "prepare", ("hg38", "--list")),
    (None, "pretrain", (*TRAIN, *GENOME, "data.max_length=64", "model=tiny", "hydra.run.dir=pre")),
    (None, "finetune", (*TUNE, "data.table=t.csv", "model=pre", "hydra.run.dir=ft")),
    (None, "report", ("run=ft", "out=report.html")),
    (None, "predict", ("model=ft", "fasta=g.fa", "bed=r.bed", "out=p.tsv")),
    (None, "embed", ("model=yeast-66k", "fasta=g.fa", "out=e.npz")),
    (None, "score", ("model=pre", "vcf=v.vcf", "fasta=g.fa", "out=s.tsv")),
    (None, "attribute", ("region=chrI:1001-1020", "out=a.tsv")),
    (None, "generate", ("prompt=ACGT", "length=20", "out=n.fa")),
    (None, "export", ("model=pre", "format=state_spaces", "out=exported")),
    (None, "benchmark", ("name=yeast_bits", "model=pre", "hydra.run.dir=bench")),
    ("pyBigWig", "tracks", ("model=pre", "fasta=g.fa", "out=t.bw")),
    ("anndata", "embed", ("model=pre", "fasta=g.fa", "out=e.h5ad")),
    ("pyarrow", "predict", ("model=ft", "fasta=g.fa", "out=p.parquet")),
    ("peft", "finetune", (*TUNE, "data.table=t.csv", "model=pre", "task.lora_rank=2", "hydra.run.dir=lora")),
]
PROGRAMS = [
    ("data_prep.download", "--help"),
    ("data_prep.intervals", "--help"),
    ("data_prep.simulate_apes", "--help"),
]
PROGRAMS += [("data_prep.yeast", "--help")]


COMPOSED = """
from dnamamba.commands.experiments import experiment_names
from dnamamba.config import composed
for command in ("pretrain", "finetune"):
    names = experiment_names(command)
    assert names, command
    for name in names:
        composed(command, [f"experiment={name}"])
"""


def tried(name: str, arguments: list[str], folder: Path) -> bool:
    """Run a program and say how it went; whether it succeeded."""
    began = time.perf_counter()
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    print(
        f"{'ok ' if done.returncode == 0 else 'BAD'} {time.perf_counter() - began:6.1f} s  {name}", flush=True
    )
    if done.returncode:
        print(done.stdout[-500:], done.stderr[-1500:])
    return done.returncode == 0


def main() -> int:
    """Run all of them; 1 if any fails."""
    script = str(Path(sys.executable).parent / "dnamamba")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in (
            ("g.fa", FASTA),
            ("r.bed", BED),
            ("g.gff3", GFF),
            ("v.vcf", VCF),
            ("t.csv", TABLE),
        ):
            (folder / path).write_text(text)
        results = [
            tried(f"{command} {' '.join(arguments)}", [script, command, *arguments], folder)
            for package, command, arguments in COMMANDS
            if package is None or find_spec(package)
        ]
        results += [
            tried(f"{module} {argument}", [sys.executable, "-m", module, argument], folder)
            for module, argument in PROGRAMS
        ]
        results.append(tried("every experiment composed", [sys.executable, "-c", COMPOSED], folder))
    print(f"{sum(results)} of {len(results)} ran, Python {sys.version.split()[0]}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
