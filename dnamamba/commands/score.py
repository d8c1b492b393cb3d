"""What `python -m dnamamba.score` does: a VCF file scored, or every base of a region mutated."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA, YEAST_MODEL
from dnamamba.data.fasta import Genome
from dnamamba.data.regions import parse_region
from dnamamba.data.synonyms import Synonyms
from dnamamba.data.variants import Vcf
from dnamamba.errors import UserError
from dnamamba.files import replacing, replacing_together
from dnamamba.inference.answers import label_taken, window_taken
from dnamamba.inference.device import load_any_on, precision_of
from dnamamba.inference.effects import Windows, judge
from dnamamba.inference.output import output_path
from dnamamba.inference.progress import bar
from dnamamba.inference.saturation import saturate, write_table
from dnamamba.inference.score_tables import SUFFIXES as TABLES
from dnamamba.inference.score_tables import check_format
from dnamamba.inference.score_vcf import SUFFIXES, check, quantity, score_vcf
from dnamamba.inference.variants import REF_MISMATCH, SYMBOLIC_BASES
from dnamamba.inference.vcf_rows import Records
from dnamamba.plugins import load_plugins
from dnamamba.reports.figures import draw
from dnamamba.reports.saturation import saturation_figure
from dnamamba.terminal import Console


@dataclass(frozen=True)
class ScoreConfig:
    """The settings of conf/score.yaml, which explains each."""

    model: str | None
    out: str
    vcf: str | None
    region: str | None
    fasta: str | None
    window: int | None
    shifts: list[int]
    strand: str
    device: str
    precision: str
    bases_per_batch: int | None
    overwrite: bool
    label: str | None = None
    unknown: str = "error"
    symbolic: int = SYMBOLIC_BASES
    circular: list[str] = field(default_factory=list)
    share: int = 0
    plugins: list[str] | None = None


def score(config: ScoreConfig) -> None:
    """Score as `config` says and write the result, whole or not at all.

    Raises:
        UserError: the model, the variants, the genome or the output can't be used; nothing was written.
    """
    if (config.vcf is None) == (config.region is None):
        raise UserError("give either vcf=FILE, whose variants are scored, or region=NAME:START-END")
    if config.bases_per_batch is not None and config.bases_per_batch < 1:
        raise UserError(f"bases_per_batch: must be at least 1 (got {config.bases_per_batch})")
    out = output_path(config.out, SUFFIXES if config.vcf else TABLES, config.overwrite)
    check_format(out)
    if config.window is not None:
        # Refused before a model is read.
        Windows(config.window, tuple(config.shifts), config.strand, config.share)
    load_plugins(config.plugins or [])
    model = load_any_on(YEAST_MODEL if config.model is None else config.model, config.device)
    window, line = window_taken(model, config.window)
    windows = Windows(window, tuple(config.shifts), config.strand, config.share)
    genome = Genome(
        YEAST_FASTA if config.fasta is None else config.fasta, get_alphabet(model.config.alphabet)
    )
    genome.close(config.circular, "circular")
    quantity(model, config.label)
    for said in (label_taken(model, config.label), line):
        Console(stderr=True).note(said)
    with precision_of(model, config.precision):
        if config.vcf is not None:
            _score_vcf(config, Path(config.vcf), model, genome, windows, out)
        else:
            _saturate(config, model, genome, windows, out)


def _score_vcf(
    config: ScoreConfig, path: Path, model: Model, genome: Genome, windows: Windows, out: Path
) -> None:
    console, errors = (Console(stderr=stderr) for stderr in (False, True))
    vcf = Vcf(path)
    if out.exists() and out.samefile(vcf.path):
        raise UserError(f"out={config.out} is the file to score: choose another name")
    longest = judge(model, config.bases_per_batch, config.label).reader.longest
    records = Records.of_model(genome, config.unknown, config.symbolic, model, windows, longest)
    with errors.status(f"checking {vcf.path.name}"):
        checked = check(vcf, records, lambda line: errors.print(f"dnamamba: {line}", soft_wrap=True))
    for line in records.synonyms.said():
        errors.print(f"dnamamba: {line}", soft_wrap=True)
    hidden = checked.unscored.get(REF_MISMATCH, 0)
    if hidden:
        errors.print(
            f"dnamamba: REF is not the FASTA's in {hidden:,} of {checked.rows:,} rows", soft_wrap=True
        )
    began = time.perf_counter()
    with bar(console, "scoring", checked.rows, "rows") as advance, replacing(out) as beside:
        score_vcf(model, vcf, records, windows, config.bases_per_batch, beside, advance, config.label)
    seconds = time.perf_counter() - began
    reasons = "".join(f", {count:,} {reason}" for reason, count in sorted(checked.unscored.items()))
    console.print(
        f"{checked.alleles:,} alleles of {checked.rows:,} rows in {seconds:.1f} s{reasons}: {out}",
        soft_wrap=True,
    )


def _saturate(config: ScoreConfig, model: Model, genome: Genome, windows: Windows, out: Path) -> None:
    console = Console()
    assert config.region is not None
    synonyms = Synonyms(genome.lengths)
    region = parse_region(config.region, genome.lengths, synonyms)
    for line in synonyms.said():
        Console(stderr=True).print(f"dnamamba: {line}", soft_wrap=True)
    picture = output_path(str(out.with_suffix(".png")), (".png",), config.overwrite)
    with bar(console, "mutating", region.length, "bases") as advance:
        result = saturate(model, genome, region, windows, config.bases_per_batch, advance, config.label)
    count = 3 * int(np.isfinite(result.llr[:, 0]).sum())
    said = quantity(model, config.label).column
    figure = saturation_figure(
        result.letters, result.llr, region.name, region.start + 1, "LLR (nats)" if said == "llr" else said
    )
    try:
        with replacing_together([out, picture]) as (table, drawn):
            write_table(result, table, said)
            draw(figure, drawn)
    except OSError as error:
        raise UserError(f"can't write {out} and {picture}: {error.strerror}") from error
    console.print(f"{count:,} variants: {out}, {picture}", soft_wrap=True)
