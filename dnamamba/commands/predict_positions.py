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
from dnamamba.inference.output import output_path
from dnamamba.inference.position_files import (
    BIGWIG,
    GFF,
    PositionAnswers,
    chosen_labels,
    files_of,
    write_bigwigs,
    write_bins,
    write_segments,
)
from dnamamba.models import PositionModel
from dnamamba.terminal import Console

if TYPE_CHECKING:
    from dnamamba.commands.predict import PredictConfig

_OF_SEQUENCES = ("bed", "table", "labels", "vcf", "window", "stride", "strand", "evaluate")


def predict_positions(
    config: PredictConfig, model: PositionModel, out: Path, piece: int | None, console: Console
) -> Path:
    """Predict at every base or bin of every record of a FASTA file, and write what `out` names.

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
                f"{key}: the model answers at every base or bin of whole records (got "
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
    answers = PositionAnswers(model, config.precision, piece)
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
    for path in written:
        console.print(f"{len(genome.lengths):,} records, {what} in {seconds:.1f} s: {path}", soft_wrap=True)
    return out
