"""What `dnamamba predict` does: answers of a fine-tuned model, to a file; metrics where labels are given."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.commands.predict_positions import predict_positions
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import NUCLEOTIDE, Genome
from dnamamba.data.regions import RegionsConfig
from dnamamba.data.variants import Vcf
from dnamamba.errors import UserError
from dnamamba.files import replacing, replacing_together
from dnamamba.heads.base import Head
from dnamamba.inference.answers import (
    BATCH,
    Answers,
    label_taken,
    need_sequence_model,
    window_taken,
    with_strand,
)
from dnamamba.inference.contexts import EmbeddingConfig, Plan
from dnamamba.inference.device import load_any_on
from dnamamba.inference.effects import Windows
from dnamamba.inference.inputs import Inputs, read_inputs
from dnamamba.inference.output import output_path
from dnamamba.inference.position_files import GFF
from dnamamba.inference.predict_vcf import predict_vcf
from dnamamba.inference.prediction import Predictions, collected, read_predictions
from dnamamba.inference.prediction_files import (
    BIGWIG,
    SUFFIXES,
    TABLES,
    check_format,
    name_of,
    table_of,
    write_bed,
    write_bigwig,
    write_table,
)
from dnamamba.inference.prediction_truth import table_inputs, table_labels, targets
from dnamamba.inference.progress import bases_read
from dnamamba.inference.score_vcf import check
from dnamamba.inference.variants import SYMBOLIC_BASES
from dnamamba.inference.vcf_rows import Records
from dnamamba.models import PositionModel, SequenceModel
from dnamamba.plugins import load_plugins
from dnamamba.terminal import Console

SOURCES = (("fasta",), ("bed", "fasta"), ("table",), ("fasta", "vcf"))


@dataclass(frozen=True)
class PredictConfig:
    """The settings of conf/predict.yaml, which explains each.

    Raises:
        UserError: what is to be read is not said, or keys do not go together.
    """

    model: str
    out: str
    fasta: str | None = None
    bed: str | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    table: str | None = None
    columns: dict[str, str | None] = field(default_factory=dict)
    labels: str | None = None
    vcf: str | None = None
    window: int | None = None
    stride: int | None = None
    strand: str | None = None
    context: int | None = None
    label: str | None = None
    evaluate: bool | None = None
    symbolic: int = SYMBOLIC_BASES
    batch_size: int = BATCH
    device: str = "auto"
    precision: str = "auto"
    overwrite: bool = False
    plugins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = tuple(key for key in ("bed", "fasta", "table", "vcf") if getattr(self, key) is not None)
        if keys not in SOURCES:
            ways = "; or ".join(" and ".join(f"{key}=FILE" for key in each) for each in SOURCES)
            given = ", ".join(keys) if keys else "none"
            raise UserError(f"what is to be read: give {ways} (got {given})")
        if self.labels is not None and (
            keys not in (("fasta",), ("bed", "fasta")) or self.window is not None
        ):
            raise UserError(
                "labels: a table of id and label goes with fasta, or fasta and bed, without window (got "
                f"{self.labels}); leave it out"
            )
        if self.labels is not None and self.regions.label is not None:
            raise UserError("regions.label: the labels are those of the table `labels`; leave one out")
        if self.bed is None and self.vcf is None and self.regions != RegionsConfig():
            raise UserError("regions: says how bed is read, which is not given; give it")
        of_vcf = RegionsConfig(unknown=self.regions.unknown, circular=self.regions.circular)
        if self.vcf is not None and self.regions != of_vcf:
            raise UserError(
                "regions: of a vcf, regions.unknown and regions.circular are read; leave the rest out"
            )
        if self.table is None and self.labels is None and any(self.columns.values()):
            raise UserError("columns: names columns of `table` or `labels`, which are not given; give one")
        if self.labels is not None and self.columns.get("sequence") is not None:
            raise UserError(
                "columns.sequence: `labels` has id and label, and sequences are in fasta (got "
                f"{self.columns['sequence']}); leave it out"
            )
        if self.vcf is not None and self.stride is not None:
            raise UserError(f"stride: each variant of a vcf has one window (got {self.stride}); leave it out")
        if self.evaluate and (self.vcf is not None or self.window is not None):
            raise UserError("evaluate: variants and windows have no labels; leave it out")

    @property
    def whole(self) -> bool:
        """Whether what is read are whole records or sequences."""
        return self.bed is None and self.window is None


def predict_to_file(config: PredictConfig, piece: int | None = None) -> Path:
    """Predict as `config` says and write the result, whole or not at all.

    Args:
        config: the settings.
        piece: bases read at once, of a recurrent family; by default what suits the device.

    Raises:
        UserError: the model, a file to read, a label or the output can't be used; nothing was written.
    """
    console, errors = Console(), Console(stderr=True)
    suffixes = TABLES if config.vcf is not None else (*SUFFIXES, *GFF)
    out = output_path(config.out, suffixes, config.overwrite)
    check_format(out)
    if out.suffix in (".bed", *BIGWIG) and config.table is not None:
        raise UserError(f"out={config.out}: sequences of a table have no place in a genome; write .tsv")
    for key in ("name", "label") if out.suffix in BIGWIG else ():
        if getattr(config.regions, key) is not None and not (key == "label" and config.evaluate):
            raise UserError(
                f"regions.{key}: a bigWig has values without names or labels (got "
                f"{getattr(config.regions, key)}); leave it out"
            )
    load_plugins(config.plugins)
    found_model = load_any_on(config.model, config.device)
    if isinstance(found_model, PositionModel):
        return predict_positions(config, found_model, out, piece, console)
    loaded = need_sequence_model(found_model, config.model)
    if config.context is not None:
        raise UserError(
            f"context: the model answers once per sequence (got {config.context}); leave it out, or read "
            "more of each region by regions.flank"
        )
    if config.label is not None and out.suffix not in BIGWIG:
        raise UserError(
            f"label: one label is written as bigWig (got {config.label}); write .bw, or leave it out"
        )
    if out.suffix in GFF:
        raise UserError(
            f"out={config.out}: the model answers once per sequence; write {' or '.join(SUFFIXES)}"
        )
    answers = Answers(
        with_strand(loaded, config.strand),
        label=config.label,
        precision=config.precision,
        piece=piece,
        batch_size=config.batch_size,
    )
    if out.suffix in BIGWIG:
        answers.label_number()
        errors.note(label_taken(loaded, config.label))
    began = time.perf_counter()
    if config.vcf is not None:
        rows = _variants(config, Path(config.vcf), answers, out, console, errors)
        console.print(f"{rows:,} alleles in {time.perf_counter() - began:.1f} s: {out}", soft_wrap=True)
        return out
    inputs, labels = _inputs(config, answers)
    for note in inputs.notes:
        errors.print(f"dnamamba: {note}", soft_wrap=True)
    if out.suffix in (".bed", *BIGWIG):
        inputs.need_linear(f"a {out.suffix} file")
    truth = None
    if labels is not None:
        # Of a genome's regions, a table may label some.
        judged = [row for row, label in enumerate(labels) if label is not None or config.labels is None]
        names = [name_of(inputs.regions[row], config.whole) for row in judged]
        truth = targets(answers.head, [labels[row] for row in judged], names)
        scores = output_path(str(out.with_name(f"{out.stem}.metrics.json")), (".json",), config.overwrite)
    found = _read(config, answers, inputs, console)
    with replacing_together([out] if truth is None else [out, scores]) as besides:
        _write(config, answers, inputs, found, labels, besides[0], out)
        if truth is not None:
            metrics = _metrics(answers.head, found.logits[judged], truth)
            besides[1].write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    console.print(
        f"{len(found.regions):,} sequences in {time.perf_counter() - began:.1f} s: {out}", soft_wrap=True
    )
    if truth is not None:
        shown = ", ".join(
            f"{name} {math.nan if value is None else value:.4g}" for name, value in metrics["metrics"].items()
        )
        for line in (f"{shown}: {scores}", *metrics["notes"]):
            console.print(line, soft_wrap=True)
    return out


def _inputs(config: PredictConfig, answers: Answers) -> tuple[Inputs, Sequence[str | None] | None]:
    """Return the inputs, and the labels to evaluate with, if any."""
    alphabet = answers.reader.alphabet
    columns = {ours: theirs for ours, theirs in config.columns.items() if theirs is not None}
    if config.table is not None:
        inputs = table_inputs(config.table, columns, alphabet, answers.head)
        named = inputs.labels is not None and any(inputs.labels)
    else:
        assert config.fasta is not None
        if config.bed is None:
            inputs = read_inputs(config.fasta, alphabet)
            if alphabet.name == "dna":
                _check_letters(Genome(config.fasta, get_alphabet("bytes")))
        else:
            inputs = read_inputs((config.fasta, config.bed), alphabet, config.regions)
        if config.labels is not None:
            found, notes = table_labels(config.labels, inputs.regions, columns, config.bed, answers.head)
            inputs.labels, inputs.notes = found, (*inputs.notes, *notes)
        # Column 4 of a BED is a name more often than a label: it counts only where it is asked for.
        named = config.labels is not None or config.regions.label is not None
    if config.evaluate is False or config.window is not None:
        return inputs, None
    if config.evaluate and inputs.labels is None:
        raise UserError("evaluate: no labels; give a table with a column label, labels=, or regions.label=")
    return inputs, inputs.labels if named or config.evaluate else None


def _read(config: PredictConfig, answers: Answers, inputs: Inputs, console: Console) -> Predictions:
    plan = Plan(inputs.regions, EmbeddingConfig(window=config.window, stride=config.stride))
    with bases_read(console, "predicting", int((plan.end - plan.start).sum())) as advance:
        return collected(answers.head, read_predictions(answers, inputs, plan, advance))


def _write(
    config: PredictConfig,
    answers: Answers,
    inputs: Inputs,
    found: Predictions,
    labels: Sequence[str | None] | None,
    path: Path,
    name: Path,
) -> None:
    if name.suffix in BIGWIG:
        values = found.values[:, answers.label_number()]
        lengths = {region.record: inputs.length(region.record) for region in found.regions}
        write_bigwig(
            found.regions, values, lengths, path, name=name, window=config.window, stride=config.stride
        )
    elif name.suffix == ".bed":
        write_bed(found, answers.head, path, whole=config.whole)
    else:
        given = None if labels is None else [label or "" for label in labels]
        places = config.table is None
        columns = table_of(found, answers.head, whole=config.whole, places=places, labels=given)
        write_table(columns, path, name.suffix)


def _variants(
    config: PredictConfig, path: Path, answers: Answers, out: Path, console: Console, errors: Console
) -> int:
    """Write the table of a VCF file's alleles; returns how many there are."""
    assert config.fasta is not None
    model = answers.reader.model
    assert isinstance(model, SequenceModel)  # PositionModel is in predict_positions
    decoder = model.decoder
    if config.window is None and decoder.length is None and decoder.longest is None:
        raise UserError(
            "window: a vcf needs it, the bases around a variant that are read (got null); give about as many "
            "as the sequences had that the model was fine-tuned on, which its files don't say"
        )
    window, line = window_taken(answers.reader.model, config.window)
    errors.note(line)
    vcf, windows = Vcf(path), Windows(window, strand="forward")
    genome = Genome(config.fasta, answers.reader.alphabet)
    genome.close(config.regions.circular, "regions.circular")
    longest = answers.reader.longest
    records = Records.of_model(genome, config.regions.unknown, config.symbolic, model, windows, longest)
    records.key = "regions.unknown"
    checked = check(vcf, records, lambda line: errors.print(f"dnamamba: {line}", soft_wrap=True))
    for line in records.synonyms.said():
        errors.print(f"dnamamba: {line}", soft_wrap=True)
    with bases_read(console, "predicting", checked.rows) as advance:
        columns = predict_vcf(answers, vcf, records, windows, advance)
    with replacing(out) as beside:
        write_table(columns, beside, out.suffix)
    for reason, count in sorted(checked.unscored.items()):
        errors.print(f"dnamamba: {count:,} rows not predicted: {reason}", soft_wrap=True)
    return len(columns["alt"])


def _metrics(head: Head, values: NDArray[np.float64], truth: torch.Tensor) -> dict[str, Any]:
    """Return the contents of OUT.metrics.json, for logits and labels of the same sequences."""
    logits = torch.from_numpy(values)
    metrics = head.metrics(logits, truth)
    return {
        "sequences": len(truth),
        "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        "confusion": head.confusion(logits, truth),
        "labels": list(head.labels),
        "notes": head.notes(logits, truth),
    }


def _check_letters(letters: Genome) -> None:
    """Refuse a FASTA file with letters that are not nucleotide codes, such as a protein's."""
    count, first = 0, ""
    for name in letters.names:
        position = 0
        for piece in letters.pieces(name):
            strange = (~NUCLEOTIDE[piece]).nonzero()[0]
            if strange.size and not count:
                place = position + int(strange[0]) + 1
                first = f"{chr(piece[strange[0]])!r} at position {place:,} of record {name}"
            count += strange.size
            position += piece.size
    if count:
        raise UserError(f"{letters.path}: {count:,} letter(s) are not nucleotide codes, the first is {first}")
