"""Build the aligned sets of docs/heads.md from human DNA and a table of transcripts; nothing is downloaded.

    python studies/aligned_sets.py TRANSCRIPTS FASTA [FASTA ...] --out FOLDER

TRANSCRIPTS is a table of tab-separated NAME, CHROM, STRAND, TX_START, TX_END, EXON_START, EXON_END (from 0,
ends exclusive, exons joined by commas), such as `annotations/grch37.txt` (GENCODE V24 on GRCh37) of the wheel
spliceai 1.3.1, or that wheel itself. A FASTA holds chromosomes of the same assembly.

- splice.tsv: 60 bases on the gene's strand around a junction, 30 on either side: `donor`, `acceptor` or
  `neither`, which is drawn from within transcripts, 30 bases or more from every junction.
- decoys.tsv: the same, but that `neither` has a GT or an AG where a junction would have it.
- promoters.tsv: 300 bases, 249 of them before the start of a transcript: `promoter`; or `other`, drawn from
  the chromosome, 5,000 bases or more from every start, on a random strand.
- ends.tsv: 200 bases, 150 of them before the end of a transcript: `end`; or `other`, drawn likewise.
- exons.tsv: 200 bases on the gene's strand from the middle of an exon or of an intron: not aligned.
- starts.tsv: 120 bases of the package's yeast genome around an ATG, 60 before it, on its strand: `start` of a
  coding region, or `other`, any other ATG.
- splice200.tsv and so on: the human sets with 200 sequences for training and 50 for validation.

Splits are by place: human chromosome X is `valid` up to 30 Mb and `test` behind, all others are `train`; of
yeast chrV and chrX are `valid`, chrVI, chrXII and chrXVI `test`.
"""

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np

from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_CODING_SEQUENCES, YEAST_FASTA
from dnamamba.data.fasta import Genome

DNA = get_alphabet("dna")
A, C, G, T = DNA.encode("ACGT").tolist()
HALF = 30
BEFORE, AFTER = 249, 51
BEFORE_END, AFTER_END = 150, 50
INSIDE = 200
AROUND = 60
HELD_OUT = dict.fromkeys(("chrV", "chrX"), "valid") | dict.fromkeys(("chrVI", "chrXII", "chrXVI"), "test")
FEW = {"train": 200, "valid": 50}
FAR = 5_000
VALID_END = 30_000_000
TABLE_IN_WHEEL = "spliceai/annotations/grch37.txt"


class Transcript(NamedTuple):
    """One line of the table."""

    chromosome: str
    strand: str
    start: int
    end: int
    exons: list[tuple[int, int]]

    def junctions(self) -> Iterator[tuple[str, int]]:
        """Yield `donor` or `acceptor`, and the first base behind the junction on the forward strand."""
        for (_, end), (start, _) in zip(self.exons, self.exons[1:], strict=False):
            first, second = ("donor", "acceptor") if self.strand == "+" else ("acceptor", "donor")
            yield first, end
            yield second, start


def transcripts(path: Path, chromosomes: set[str]) -> list[Transcript]:
    """Return the transcripts of some chromosomes, from a table or from the wheel that holds it."""
    if path.suffix == ".whl":
        with ZipFile(path) as wheel:
            text = wheel.read(TABLE_IN_WHEEL).decode()
    else:
        text = path.read_text()
    found = []
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        if row["CHROM"] in chromosomes:
            ends = [
                [int(place) for place in row[column].rstrip(",").split(",")]
                for column in ("EXON_START", "EXON_END")
            ]
            exons = sorted(zip(*ends, strict=True))
            whole = int(row["TX_START"]), int(row["TX_END"])
            found.append(Transcript(row["CHROM"], row["STRAND"], *whole, exons))
    return found


def letters_of(ids: np.ndarray, strand: str) -> str:
    """Return the letters of bases, given on the forward strand, as a strand reads them; in upper case."""
    return DNA.decode(DNA.reverse_complement(ids) if strand == "-" else ids).upper()


class Sets:
    """Draws windows of the chromosomes.

    Args:
        chromosomes: ids of the forward strand, by name.
        seed: of what is drawn.
    """

    def __init__(self, chromosomes: dict[str, np.ndarray], seed: int) -> None:
        self.chromosomes = chromosomes
        self.rng = np.random.default_rng(seed)

    def window(self, chromosome: str, place: int, before: int, after: int, strand: str) -> str | None:
        """Return the letters around the base that follows `place`, in upper case; None if one is unknown."""
        if strand == "-":
            before, after = after, before
        ids = self.chromosomes[chromosome][max(0, place - before) : place + after]
        if ids.size < before + after or not np.isin(ids, (A, C, G, T)).all():
            return None
        return letters_of(ids, strand)

    def splice(self, found: list[Transcript], decoys: bool) -> Iterator[tuple[str, int, str, str]]:
        """Yield chromosome, place, label and letters of junctions, and of as many places without one."""
        taken = {name: np.zeros(ids.size, dtype=bool) for name, ids in self.chromosomes.items()}
        seen = set()
        for one in found:
            for label, place in one.junctions():
                taken[one.chromosome][max(0, place - HALF) : place + HALF] = True
                key = one.chromosome, place, label, one.strand
                letters = self.window(one.chromosome, place, HALF, HALF, one.strand)
                if letters is not None and key not in seen:
                    seen.add(key)
                    yield one.chromosome, place, label, letters
        wanted = len(seen) // 2
        lengths = np.array([one.end - one.start for one in found], dtype=float)
        while wanted:
            one = found[self.rng.choice(len(found), p=lengths / lengths.sum())]
            place = int(self.rng.integers(one.start, one.end))
            letters = self.window(one.chromosome, place, HALF, HALF, one.strand)
            if letters is None or taken[one.chromosome][place]:
                continue
            if decoys and letters[HALF : HALF + 2] != "GT" and letters[HALF - 2 : HALF] != "AG":
                continue
            wanted -= 1
            yield one.chromosome, place, "neither", letters

    def promoters(self, found: list[Transcript]) -> Iterator[tuple[str, int, str, str]]:
        """Yield chromosome, place, label and letters of starts, and of as many places far from all starts."""
        starts = [one.start if one.strand == "+" else one.end for one in found]
        yield from self.sites(found, starts, "promoter", BEFORE, AFTER)

    def ends(self, found: list[Transcript]) -> Iterator[tuple[str, int, str, str]]:
        """Yield the same of ends."""
        ends = [one.end if one.strand == "+" else one.start for one in found]
        yield from self.sites(found, ends, "end", BEFORE_END, AFTER_END)

    def exons(self, found: list[Transcript]) -> Iterator[tuple[str, int, str, str]]:
        """Yield chromosome, place, label and letters of the middles of exons and introns, each once."""
        seen = set()
        for one in found:
            introns = [(end, start) for (_, end), (start, _) in zip(one.exons, one.exons[1:], strict=False)]
            for label, parts in (("exon", one.exons), ("intron", introns)):
                for start, end in parts:
                    place, half = (start + end) // 2, INSIDE // 2
                    letters = self.window(one.chromosome, place, half, half, one.strand)
                    if end - start >= INSIDE and letters is not None and (one.chromosome, place) not in seen:
                        seen.add((one.chromosome, place))
                        yield one.chromosome, place, label, letters

    def sites(
        self, found: list[Transcript], places: list[int], label: str, before: int, after: int
    ) -> Iterator[tuple[str, int, str, str]]:
        """Yield chromosome, place, label and letters of places, and of as many far from all of them, `other`.

        Args:
            found: transcripts.
            places: one of each.
            label: theirs.
            before, after: bases on either side, by the transcript's strand.
        """
        near = {name: np.zeros(ids.size, dtype=bool) for name, ids in self.chromosomes.items()}
        seen = set()
        for one, start in zip(found, places, strict=True):
            near[one.chromosome][max(0, start - FAR) : start + FAR] = True
            letters = self.window(one.chromosome, start, before, after, one.strand)
            if letters is not None and (one.chromosome, start) not in seen:
                seen.add((one.chromosome, start))
                yield one.chromosome, start, label, letters
        for chromosome in self.chromosomes:
            wanted = sum(name == chromosome for name, _ in seen)
            while wanted:
                place = int(self.rng.integers(near[chromosome].size))
                letters = self.window(chromosome, place, before, after, "+-"[self.rng.integers(2)])
                if letters is not None and not near[chromosome][place]:
                    wanted -= 1
                    yield chromosome, place, "other", letters


def split_of(chromosome: str, place: int) -> str:
    """Split by position, so that no gene is in two splits."""
    if chromosome != "X":
        return "train"
    return "valid" if place < VALID_END else "test"


def write(path: Path, rows: list[tuple[str, int, str, str]], most: int, rng: np.random.Generator) -> None:
    """Write a table for `data.table`; each split has at most `most` rows, each label its share of them."""
    by_split: dict[str, list[list[str]]] = {}
    for number in rng.permutation(len(rows)):
        chromosome, place, label, letters = rows[number]
        split = split_of(chromosome, place)
        by_split.setdefault(split, []).append([f"{chromosome}:{place}:{label}", letters, label, split])
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "sequence", "label", "split"])
        for split in ("train", "valid", "test"):
            writer.writerows(by_split[split][:most])
            print(f"{path.name} {split}: {min(most, len(by_split[split])):,} of {len(by_split[split]):,}")


def write_rows(path: Path, rows: list[list[str]]) -> None:
    """Write a table for `data.table` of rows that hold all four columns."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "sequence", "label", "split"])
        writer.writerows(rows)


def starts(draw: random.Random) -> Iterator[list[str]]:
    """Yield the rows of starts.tsv, in no order: as many other ATGs as starts, anywhere in the genome."""
    genome = Genome(YEAST_FASTA, DNA)
    letters = {name: DNA.decode(genome.fetch(name)).upper() for name in genome.names}
    other = str.maketrans("ACGTN", "TGCAN")

    def atg(name: str, place: int, strand: str) -> str | None:
        if min(place, len(letters[name]) - place) < AROUND:
            return None
        found = letters[name][place - AROUND : place + AROUND]
        found = found[::-1].translate(other) if strand == "-" else found
        return found if found[AROUND : AROUND + 3] == "ATG" and set(found) <= set("ACGT") else None

    regions = [line.split("\t") for line in YEAST_CODING_SEQUENCES.read_text().splitlines()]
    places = {(row[0], int(row[1] if row[5] == "+" else row[2]), row[5]) for row in regions}
    known = [(place, found) for place in sorted(places) if (found := atg(*place)) is not None]
    rows, names = [(place, found, "start") for place, found in known], sorted(letters)
    while len(rows) < 2 * len(known):
        name = draw.choices(names, [len(letters[one]) for one in names])[0]
        place = name, draw.randrange(AROUND, len(letters[name]) - AROUND), draw.choice("+-")
        found = None if place in places else atg(*place)
        if found is not None:
            rows.append((place, found, "other"))
    for (name, position, strand), found, label in rows:
        yield [f"{name}:{position}:{strand}", found, label, HELD_OUT.get(name, "train")]


def few(path: Path, draw: random.Random) -> list[list[str]]:
    """Return rows of a table, shuffled: `FEW` of those splits, and all others."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    draw.shuffle(rows)
    left, kept = dict(FEW), []
    for row in rows:
        left[row[3]] = left.get(row[3], len(rows)) - 1
        if left[row[3]] >= 0:
            kept.append(row)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("transcripts", type=Path)
    parser.add_argument("fasta", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=4000, help="sequences of a split")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chromosomes = {}
    for path in options.fasta:
        genome = Genome(path, DNA)
        chromosomes |= {name.removeprefix("chr"): genome.fetch(name) for name in genome.names}
    found = transcripts(options.transcripts, set(chromosomes))
    found = [one for one in found if one.end + FAR < chromosomes[one.chromosome].size]
    sets, rng = Sets(chromosomes, options.seed), np.random.default_rng(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "splice.tsv", list(sets.splice(found, decoys=False)), options.most, rng)
    write(options.out / "decoys.tsv", list(sets.splice(found, decoys=True)), options.most, rng)
    write(options.out / "promoters.tsv", list(sets.promoters(found)), options.most, rng)
    write(options.out / "ends.tsv", list(sets.ends(found)), options.most, rng)
    write(options.out / "exons.tsv", list(sets.exons(found)), options.most, rng)
    draw = random.Random(1)
    rows = list(starts(draw))
    draw.shuffle(rows)
    write_rows(options.out / "starts.tsv", rows)
    for name in ("splice", "exons", "promoters", "ends", "decoys"):
        write_rows(options.out / f"{name}200.tsv", few(options.out / f"{name}.tsv", draw))


if __name__ == "__main__":
    main()
