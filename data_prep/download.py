"""Download a genome and make it ready to train on.

    python -m data_prep.download NAME [--out DIR]

NAME is one of sources.toml: hg38, or one of the great apes. Into DIR/NAME (DIR: genomes) come the files as
they were downloaded, and made of them

    NAME.fa.gz              the chromosomes, upper case, FASTA in BGZF, with .fai and .gzi
    NAME.chromosomes.tsv    which record each is, its length, and the human chromosomes with the same genes
    NAME.bed                chromosome, start, end and split of every segment, if the source has such a file

An interrupted download resumes where it stopped when the command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from data_prep.chromosomes import Prepared, prepare
from data_prep.fetch import fetch
from data_prep.intervals import summary, write_split_intervals
from data_prep.sources import Source, load_sources
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    try:
        sources = load_sources()
        options = _parser(sources).parse_args(arguments)
        download(sources[options.name], options.out / options.name)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes it", file=sys.stderr)
        return 130
    return 0


def _parser(sources: Mapping[str, Source]) -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:<12} {source.assembly}: {source.about}" for name, source in sources.items())
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.download",
        description=(__doc__ or "").split("\n")[0],
        epilog=f"genomes:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=sources, help="the genome: one of those below")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("genomes"), help="default: %(default)s"
    )
    return parser


def download(source: Source, folder: Path) -> Prepared:
    """Fetch the files of a genome into a folder and prepare them.

    Raises:
        UserError: one line that names the file and says what is wrong with it or with the way to it.
    """
    print(f"{source.species}, {source.assembly} ({source.accession})")
    print(f"terms: {source.terms}\ncite:  {source.citation}")
    fetched = [(file.role, fetch(file, folder)) for file in source.files]
    made = prepare(source, next(path for role, path in fetched if role == "fasta"), folder)
    print(f"{made.fasta}  {made.fasta.stat().st_size:,} bytes")
    lengths = {}
    for line in made.fai.read_text(encoding="ascii").splitlines():
        name, length = line.split("\t")[:2]
        lengths[name] = int(length)
    for role, path in fetched:
        if role == "intervals":
            splits = read_split_intervals(path, lengths)
            bed = folder / f"{source.name}.bed"
            write_split_intervals(bed, splits, tuple(lengths))
            print(f"{bed}  {summary(splits)}")
    return made


if __name__ == "__main__":
    sys.exit(main())
