"""What `dnamamba predict` does with a model that answers at every base or bin: segments, or bigWig."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.heads.base_classes import BaseClasses
from dnamamba.inference.inputs import read_inputs
from dnamamba.inference.output import output_path
from dnamamba.inference.position_files import (
    BIGWIG,
    GFF,
    PositionAnswers,
    chosen_labels,
    files_of,
    spans_of,
    write_bigwigs,
    write_bins,
    write_segments,
)
from dnamamba.models import PositionModel
from dnamamba.terminal import Console

if TYPE_CHECKING:
    from dnamamba.commands.predict import PredictConfig

_OF_NAMES = ("name", "label")
_OF_SEQUENCES = ("table", "labels", "vcf", "window", "stride", "evaluate")


def predict_positions(
    config: PredictConfig, model: PositionModel, out: Path, piece: int | None, console: Console
) -> Path:
    """Predict at every base or bin of a FASTA file, or of the regions in it, and write what `out` names.

    Args:
        config: of the command.
        model: fine-tuned.
        out: the file, whose folder is there.
        piece: bases read at once; None: what suits the device.
        console: says what was written.

    Raises:
        UserError: a setting has no meaning for such a model, or the output can't be used.
    """
    for key in _OF_SEQUENCES:
        if getattr(config, key) is not None:
            raise UserError(
                f"{key}: the model answers at every base or bin of records or regions (got "
                f"{getattr(config, key)}); leave it out"
            )
    classes = isinstance(model.decoder.head, BaseClasses)
    kinds = (*GFF, ".bed", ".tsv", *BIGWIG) if classes else (".tsv", *BIGWIG)
    if out.suffix not in kinds:
        raise UserError(f"out={config.out}: the model's answers are written as {' or '.join(kinds)}")
    if config.label is not None and out.suffix not in BIGWIG:
        raise UserError("label: one label is written as bigWig; write .bw, or leave it out")
    assert config.fasta is not None
    began = time.perf_counter()
    genome = Genome(config.fasta, get_alphabet(model.config.alphabet))
    spans, context, given = None, 0, 0
    if config.bed is not None:
        for key in _OF_NAMES:
            if (given_name := getattr(config.regions, key)) is not None:
                raise UserError(
                    f"regions.{key}: answers per base or bin are written by place alone (got {given_name}); "
                    "leave it out"
                )
        inputs = read_inputs((genome, config.bed), genome.alphabet, config.regions)
        for note in inputs.notes:
            Console(stderr=True).print(f"dnamamba: {note}", soft_wrap=True)
        given = len(inputs.regions)
        spans = spans_of(inputs, model.decoder.bin)
        context = model.decoder.window if config.context is None else config.context
    answers = PositionAnswers(
        model,
        config.precision,
        piece,
        strand=config.strand or "forward",
        regions=spans,
        context=context,
    )
    if out.suffix in BIGWIG:
        chosen = chosen_labels(model, config.label)
        paths = files_of(out, list(chosen))
        for path in paths.values():
            output_path(str(path), BIGWIG, config.overwrite)
        write_bigwigs(answers, genome, {paths[name]: places for name, places in chosen.items()})
        written = list(paths.values())
        what = f"{len(written)} bigWig"
    else:
        with replacing(out) as beside:
            if classes:
                what = f"{write_segments(answers, genome, beside, out.suffix):,} segments"
            else:
                what = f"{write_bins(answers, genome, beside):,} bins"
        written = [out]
    seconds = time.perf_counter() - began
    read = f"{len(genome.lengths):,} records"
    if spans is not None:
        joined = sum(map(len, spans.values()))
        those = "" if joined == given else f", joined to {joined:,}"
        read = f"{given:,} regions{those}, each read with {context:,} bases on either side"
    for path in written:
        console.print(f"{read}, {what} in {seconds:.1f} s: {path}", soft_wrap=True)
    return out
