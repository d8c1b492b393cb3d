"""Answers at every base or bin of records or regions, as files: segments (GFF3, BED, TSV) or bigWig."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from dnamamba.data.alphabet import Alphabet, Ids
from dnamamba.data.base_classes import group_of
from dnamamba.data.fasta import Genome
from dnamamba.data.signal import bins_with
from dnamamba.errors import UserError
from dnamamba.escaping import TsvWriter, cell, printable
from dnamamba.files import replacing_together
from dnamamba.heads.base_classes import BaseClasses
from dnamamba.heads.segments import Segment, segments
from dnamamba.inference.bigwig import bigwig
from dnamamba.inference.device import need_finite, precision_of
from dnamamba.inference.inputs import Inputs
from dnamamba.models import PositionModel
from dnamamba.models.pooling import UNKNOWN
from dnamamba.models.position_reading import PIECE, read_positions

GFF = (".gff3", ".gff")
BIGWIG = (".bw", ".bigwig", ".bigWig")
PIECE_GPU = 1 << 18
Floats = NDArray[np.float32] | NDArray[np.float64]  # of classes; of tracks, which may be far from zero


class Bases(Protocol):
    """Records that are read, such as a `Genome`."""

    @property
    def alphabet(self) -> Alphabet:
        """Of the ids."""

    @property
    def lengths(self) -> Mapping[str, int]:
        """Bases of each record."""

    def fetch(self, record: str, start: int, end: int) -> Ids:
        """Return ids, uint8 [end - start]. See `Genome.fetch`."""


class PositionAnswers:
    """A model that answers at every base or bin, reading.

    Args:
        model: runs where its parameters lie.
        precision: of the matrix products, see `dnamamba.inference.device.precision_of`.
        piece: bases read at once; by default what suits the device.
        strand: `both` is the mean with the answers to the reverse complement, base by base, where each label
            is the one that it is on the other strand; `forward`.
        regions: intervals (start, end) of each record that are answered, of whole bins, in order and apart;
            None: all of every record.
        context: bases that are read on either side of a region.

    Raises:
        UserError: an unknown precision or strand, or a context below 0.
    """

    def __init__(
        self,
        model: PositionModel,
        precision: str = "auto",
        piece: int | None = None,
        *,
        strand: str = "forward",
        regions: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        context: int = 0,
    ) -> None:
        if strand not in ("forward", "both"):
            raise UserError(f"strand: must be forward or both (got {strand!r})")
        if context < 0:
            raise UserError(f"context: must be at least 0 (got {context})")
        self.both, self.regions, self.context = strand == "both", regions, context
        self.model, self.decoder = model.eval(), model.decoder
        self.piece = piece or (PIECE_GPU if model.backbone.device.type == "cuda" else PIECE)
        self._precision = precision_of(model, precision)
        classes = isinstance(self.decoder.head, BaseClasses)
        self._dtype: type[np.floating] = np.float32 if classes else np.float64

    def parts(
        self, genome: Bases, record: str, folder: Path | None = None
    ) -> Iterator[tuple[int, int, Floats]]:
        """Yield start, end and `values` of what is answered of a record, in order.

        Args:
            genome, record, folder: as in `values`.
        """
        length = genome.lengths[record]
        if self.regions is None:
            yield 0, length, self.values(genome, record, folder)
            return
        size = self.decoder.bin
        for start, end in self.regions.get(record, ()):
            first = max(0, start - self.context) // size * size
            last = min(length, -(-(end + self.context) // size) * size)
            values = self.values(genome, record, folder, first, last)
            yield start, end, values[(start - first) // size : -(-(end - first) // size)]

    def values(
        self,
        genome: Bases,
        record: str,
        folder: Path | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> Floats:
        """Return probabilities of the classes, float32, or numbers of the tracks, float64: [bins, labels].

        What is read is one context, in pieces with the state carried over. A bin without a known base is NaN.

        Args:
            genome: has the record.
            record: its name.
            folder: takes a file of the other strand's part, while it is needed.
            first, last: the bases that are read, from where a bin begins; None: to the record's end.

        Raises:
            UserError: an answer is not finite.
        """
        ids = np.array(genome.fetch(record, first, genome.lengths[record] if last is None else last))
        if not ids.size:
            return np.empty((0, len(self.decoder.labels)), dtype=self._dtype)
        found = self._read(ids, record, folder)
        found[~self._known(ids)] = np.nan
        if not self.both:
            return found
        # Bins of the other strand are the same bases where the last one is whole.
        short = np.full(-ids.size % self.decoder.bin, genome.alphabet.n_id, dtype=np.uint8)
        turned = genome.alphabet.reverse_complement(np.concatenate([ids, short]))
        other = self._read(np.ascontiguousarray(turned), record, folder)
        return np.asarray((found + other[::-1, list(self.decoder.complement)]) / 2, dtype=self._dtype)

    def _known(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which bins of a sequence have a base that is known, bool [bins]."""
        return bins_with(self.model.bases.cpu().numpy()[ids] != UNKNOWN, self.decoder.bin)

    def _read(self, ids: Ids, record: str, folder: Path | None) -> Floats:
        """Return the answers to a sequence, uint8 [L], in its direction."""
        tokens = torch.from_numpy(ids)
        found = read_positions(self.model, tokens, self.piece, precision=self._precision, folder=folder)
        logits = torch.cat([part.logits.float() for part in found])
        need_finite(logits.cpu().numpy(), record)
        logits = self.model.decoded(logits).cpu()
        answers: Floats = self.decoder.head.predict(logits.double()).numpy().astype(self._dtype, copy=False)
        need_finite(answers, record)  # the exponential of a number may not be one
        return answers


def spans_of(inputs: Inputs, size: int) -> dict[str, list[tuple[int, int]]]:
    """Return the intervals of each record that regions cover, in whole bins; those that meet are joined.

    Args:
        inputs: the regions; their strands do not matter.
        size: bases of a bin; a record's last one may be short.

    Raises:
        UserError: a region goes past the end of a circular record.
    """
    inputs.need_linear("an answer per base or bin")
    spans: dict[str, list[tuple[int, int]]] = {}
    for region in sorted(inputs.regions):
        start = region.start // size * size
        end = min(inputs.length(region.record), -(-region.end // size) * size)
        own = spans.setdefault(region.record, [])
        if own and start <= own[-1][1]:
            own[-1] = own[-1][0], max(end, own[-1][1])
        else:
            own.append((start, end))
    return spans


def chosen_labels(model: PositionModel, label: str | None) -> dict[str, list[int]]:
    """Return the outputs that each bigWig sums: one per label, or those of the label or feature named.

    Raises:
        UserError: the model has no such label.
    """
    labels = model.decoder.labels
    groups: dict[str, list[int]] = {name: [place] for place, name in enumerate(labels)}
    if label is None:
        return groups
    for place, name in enumerate(labels):
        feature, strand = group_of(name)
        joined = feature + strand.replace(".", "")
        if joined not in labels:
            groups.setdefault(joined, []).append(place)
    if label not in groups:
        raise UserError(f"label: the model has {', '.join(groups)} (got {label!r})")
    return {label: groups[label]}


def files_of(out: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return a bigWig of each name: `out` itself of one, else `genes.CDS1+.bw` and so on.

    Raises:
        UserError: two names are one as files.
    """
    if len(names) == 1:
        return {names[0]: out}
    shown = {name: printable(name).replace("/", "_") for name in names}
    files = {name: out.with_name(f"{out.stem}.{text}{out.suffix}") for name, text in shown.items()}
    for place, name in enumerate(names):
        other = next((one for one in names[:place] if files[one] == files[name]), None)
        if other is not None:
            raise UserError(
                f"out: the labels {other} and {name} are one file {files[name]}; write label=NAME"
            )
    return files


def write_bigwigs(answers: PositionAnswers, genome: Genome, files: dict[Path, list[int]]) -> None:
    """Write bigWigs of all that is answered, each the sum of some outputs.

    Args:
        answers: the model.
        genome: what is read.
        files: the outputs that each file adds up.

    Raises:
        UserError: an answer is not finite, or a file can't be written.
    """
    size, lengths = answers.decoder.bin, genome.lengths
    with replacing_together(list(files)) as besides, ExitStack() as stack:
        writers = {
            path: stack.enter_context(bigwig(beside, lengths, path))
            for path, beside in zip(files, besides, strict=True)
        }
        for record in sorted(lengths):
            for start, end, values in answers.parts(genome, record, next(iter(files)).parent):
                for path, places in files.items():
                    track = values[:, places].sum(1)
                    writers[path].add(record, start, np.repeat(track, size)[: end - start])


def called_segments(
    answers: PositionAnswers, genome: Genome
) -> Iterator[tuple[str, list[tuple[Segment, float]]]]:
    """Yield each record's segments with the mean probability of their feature.

    Raises:
        UserError: the model does not tell classes apart, or an answer is not finite.
    """
    if not isinstance(answers.decoder.head, BaseClasses):
        raise UserError("out: a model of tracks calls no segments; write .bw or .tsv")
    labels = answers.decoder.labels
    groups = [group_of(label) for label in labels]
    for record in genome.lengths:
        rows = []
        for start, _, values in answers.parts(genome, record):
            best = _bridged(values, groups)
            for one in segments(best, labels):
                places = [place for place, group in enumerate(groups) if group == (one.kind, one.strand)]
                mean = float(np.nanmean(values[one.start : one.end, places].sum(1, dtype=np.float64)))
                rows.append((one._replace(start=one.start + start, end=one.end + start), mean))
        yield record, rows


def _bridged(values: Floats, groups: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
    """Return the best class per base, uint8 [n]; of a run of N that of the features on both sides, else 0.

    Args:
        values: [n, classes], NaN where no base is known.
        groups: the feature and strand of each class.
    """
    best = values.argmax(1).astype(np.uint8)
    lost = np.isnan(values[:, 0])
    edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
    for start, end in edges.tolist():
        inside = start > 0 and end < len(best) and groups[best[start - 1]] == groups[best[end]]
        best[start:end] = best[start - 1] if inside else 0
    return best


def write_segments(answers: PositionAnswers, genome: Genome, path: Path, suffix: str) -> int:
    """Write segments as GFF3, BED or TSV; returns how many there are.

    Args:
        answers: the model.
        genome: what is read.
        path: the file.
        suffix: of its name: one of `GFF`, `.bed` or `.tsv`.

    Raises:
        UserError: see `called_segments`.
    """
    number = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        _begin(file, genome, suffix)
        writer = TsvWriter(file)
        for record, rows in called_segments(answers, genome):
            for one, score in rows:
                number += 1
                writer.writerow(_row(record, one, score, number, answers.decoder.labels, suffix))
    return number


def _begin(file: TextIO, genome: Genome, suffix: str) -> None:
    if suffix in GFF:
        file.write("##gff-version 3\n")
        for name, length in genome.lengths.items():
            file.write(f"##sequence-region {cell(name)} 1 {length}\n")
    elif suffix == ".tsv":
        TsvWriter(file).writerow(["record", "start", "end", "feature", "strand", "probability"])


def _row(
    record: str, one: Segment, score: float, number: int, labels: Sequence[str], suffix: str
) -> Sequence[object]:
    if suffix in GFF:
        phase, name = one.phase(labels), f"ID={one.kind}{number}"
        return record, "dnamamba", one.kind, one.start + 1, one.end, f"{score:.4f}", one.strand, phase, name
    if suffix == ".bed":
        return record, one.start, one.end, one.kind, round(1000 * score), one.strand
    return record, one.start, one.end, one.kind, one.strand, repr(score)


def write_bins(answers: PositionAnswers, genome: Genome, path: Path) -> int:
    """Write the numbers of every bin as TSV; returns how many bins there are.

    Args:
        answers: a model of tracks.
        genome: what is read.
        path: the file.

    Raises:
        UserError: an answer is not finite.
    """
    number, size = 0, answers.decoder.bin
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file)
        writer.writerow(["record", "start", "end", *answers.decoder.labels])
        for record in genome.lengths:
            for start, end, values in answers.parts(genome, record):
                for place, row in zip(range(start, end, size), values.tolist(), strict=True):
                    cells = ("NA" if math.isnan(value) else repr(value) for value in row)
                    writer.writerow([record, place, min(place + size, end), *cells])
                    number += 1
    return number
