"""SIGTERM and a closed terminal: the status says so, and nothing half written stays."""

import os
import signal
from pathlib import Path

import pytest

from tests import processes

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its jobs ignore it
from dnamamba import score
from dnamamba.commands import score as command
def stopped(model, vcf, genome, windows, bases_per_batch, out, advance, label):
    out.write_bytes(b"half")
    advance(1)
    os.kill(os.getpid(), {number})
    raise SystemExit("went on")
command.score_vcf = stopped
sys.argv[1:] = {arguments}
score.main()
"""
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\na\t3\t.\tG\tA\t.\t.\t.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(
    number: signal.Signals, saved_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "g.fa").write_text(">a\n" + "ACGT" * 20 + "\n")
    (tmp_path / "v.vcf").write_text(VCF)
    arguments = [f"model={saved_model}", "fasta=g.fa", "vcf=v.vcf", "out=o.vcf", "window=32", "device=cpu"]
    program = PROGRAM.format(number=int(number), arguments=arguments)
    done = processes.run("-c", program, folder=tmp_path)
    assert done.returncode == 128 + number
    assert done.stderr == "dnamamba: stopped after 1 of 1 rows; nothing was written\n"
    assert sorted(os.listdir(tmp_path)) == ["g.fa", "v.vcf"]
