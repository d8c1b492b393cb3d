"""Gene models of a region, to be drawn: where each gene lies, which of its bases are exons, and its name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dnamamba.data.annotation import Feature, features_of_kinds, is_annotation
from dnamamba.data.gene_parts import blocks_of
from dnamamba.data.intervals import BED12, BedRow, Interval, bed_rows
from dnamamba.data.synonyms import Synonyms

_GENES = ("gene", "pseudogene", "ncRNA_gene")
_TRANSCRIPTS = ("mRNA", "transcript", "ncRNA", "lnc_RNA", "tRNA", "rRNA", "snoRNA", "snRNA")
_PARTS = ("CDS", "exon")  # the first that a transcript has are drawn
_NAMES = ("gene_name", "Name", "gene", "gene_id", "ID")


class GeneModel(NamedTuple):
    """A gene as a picture shows it.

    Attributes:
        name: of the gene; '' where the file gives none.
        start, end: of the transcript, 0-based, `end` not included.
        strand: `+`, `-` or `.`.
        parts: start and end of each interval of coding sequence, or of each exon where there is none.
    """

    name: str
    start: int
    end: int
    strand: str
    parts: tuple[tuple[int, int], ...]


def gene_models(path: str | Path, region: Interval) -> list[GeneModel]:
    """Return the genes of a file that lie in a region, by their starts.

    Of several transcripts of one gene, the one with most bases in its parts is taken.

    Args:
        path: GFF3 or GTF by its name; else a BED, whose blocks are exons (BED12) or which has none.
        region: records of other files' names are found by their synonyms.

    Raises:
        UserError: the file or a row can't be read.
    """
    synonyms = Synonyms([region.name])
    found: Iterable[GeneModel]
    if is_annotation(path):
        kinds = (*_GENES, *_TRANSCRIPTS, *_PARTS)
        rows = features_of_kinds(path, kinds, Counter())
        found = _of_features([row for row in rows if synonyms.find(row.interval.name)])
    else:
        found = (_of_row(row, path) for row in bed_rows(path) if synonyms.find(row.interval.name))
    inside = (gene for gene in found if gene.start < region.end and region.start < gene.end)
    return sorted(inside, key=lambda gene: (gene.start, gene.end))


def _of_row(row: BedRow, path: str | Path) -> GeneModel:
    name, _, strand, *_ = (*row.others, *[""] * 3)
    _, start, end = row.interval
    parts = [row.interval]
    if len(row.others) + 3 >= BED12:
        blocks, coding = blocks_of(row, f"{path}, row {row.number}")
        parts = coding or blocks
    strand = strand.strip() if strand.strip() in ("+", "-") else "."
    return GeneModel(name, start, end, strand, tuple((part.start, part.end) for part in parts))


def _of_features(rows: Sequence[Feature]) -> Iterable[GeneModel]:
    by_id = {row.attributes["ID"]: row for row in rows if "ID" in row.attributes}
    parts: dict[str, dict[str, list[Feature]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.kind in _PARTS:
            parents = (
                row.attributes.get("Parent") or row.attributes.get("transcript_id") or f"row {row.number}"
            )
            for parent in parents.split(","):
                parts[parent][row.kind].append(row)
    best: dict[str, tuple[int, GeneModel]] = {}
    for transcript, kinds in parts.items():
        drawn = next(kinds[kind] for kind in _PARTS if kind in kinds)
        gene = _gene_of(transcript, drawn[0], by_id)
        spans = tuple(sorted((row.interval.start, row.interval.end) for row in drawn))
        every = [row.interval for kind in kinds.values() for row in kind]
        every += [by_id[transcript].interval] if transcript in by_id else []
        start, end = min(each.start for each in every), max(each.end for each in every)
        model = GeneModel(_name(gene), start, end, drawn[0].strand, spans)
        bases = sum(last - first for first, last in spans)
        key = gene.attributes.get("ID") or gene.attributes.get("gene_id") or transcript
        if key not in best or bases > best[key][0]:
            best[key] = bases, model
    for row in rows:  # genes of which the file has no parts
        key = row.attributes.get("ID") or row.attributes.get("gene_id") or f"row {row.number}"
        if row.kind in _GENES and key not in best:
            _, start, end = row.interval
            best[key] = 0, GeneModel(_name(row), start, end, row.strand, ((start, end),))
    return [model for _, model in best.values()]


def _gene_of(transcript: str, part: Feature, by_id: Mapping[str, Feature]) -> Feature:
    """Return the row at the top of a part's parents, or the part itself."""
    row, above = by_id.get(transcript, part), set()
    while (parent := row.attributes.get("Parent", "").partition(",")[0]) in by_id and parent not in above:
        above.add(parent)
        row = by_id[parent]
    return row


def _name(row: Feature) -> str:
    return next((row.attributes[key] for key in _NAMES if key in row.attributes), "")
