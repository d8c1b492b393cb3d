"""Download a genome and make it ready to train on.

    dnamamba prepare NAME [--out DIR] [--list]

which is `python -m data_prep.download`. NAME is one of sources.toml: hg38, or one of the great apes. Into
DIR/NAME (DIR: genomes) come the files as they were downloaded, and made of them

    NAME.fa.gz              the chromosomes, upper case, FASTA in BGZF, with .fai and .gzi
    NAME.chromosomes.tsv    which record each is, its length, and the human chromosomes with the same genes
    NAME.bed                chromosome, start, end and split of every segment, if the source has such a file

The checksum of each table lies next to it (NAME.bed.sha256, ...), and whoever reads the table verifies it.

An interrupted download resumes where it stopped when the command is given again. A machine without a
network is brought the files: `--list` says which, with addresses, sizes and checksums; the command finds them
in their place, verifies and prepares them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from data_prep.chromosomes import Prepared, prepare
from data_prep.fetch import fetch
from data_prep.intervals import summary, write_split_intervals
from data_prep.sources import Source, load_sources
from dnamamba.data.hg38 import read_split_intervals
from dnamamba.errors import UserError
from dnamamba.files import locked, new_folder

LIST_OF = {
    "ftp.ncbi.nlm.nih.gov": "md5checksums.txt",
    "hgdownload.soe.ucsc.edu": "md5sum.txt",
}
"""The list of checksums that a server has in the folder of each file."""


def main(arguments: list[str] | None = None, program: str = "python -m data_prep.download") -> int:
    try:
        sources = load_sources()
        options = _parser(sources, program).parse_args(arguments)
        if options.list:
            chosen = [sources[options.name]] if options.name else list(sources.values())
            print("\n\n".join(listing(source, options.out / source.name) for source in chosen))
            print(
                f"\nPut each file in its place; `{program} NAME` verifies and prepares it, without a network."
            )
            return 0
        if options.name is None:
            raise UserError(f"NAME: must be given; it is one of {', '.join(sources)}")
        download(sources[options.name], options.out / options.name)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes it", file=sys.stderr)
        return 130
    return 0


def _parser(sources: Mapping[str, Source], program: str) -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:<12} {source.assembly}: {source.about}" for name, source in sources.items())
    parser = argparse.ArgumentParser(
        prog=program,
        description="Download a genome and make it ready to train on.\n\nWithout a network, --list prints "
        "which files are needed, each with its place, address,\nsize and checksum: fetch them on another "
        "machine, put them in their places here, and\nthe same command without --list verifies and prepares "
        "them.",
        epilog=f"genomes:\n{about}\n\nexamples:\n"
        f"  {program} hg38\n  {program} human --out /data/genomes\n  {program} human --list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", choices=sources, help="the genome: one of those below"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("genomes"),
        help="the folder of genomes (default: %(default)s)",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="download nothing, and print what to fetch elsewhere (without NAME: of all genomes)",
    )
    return parser


def listing(source: Source, folder: Path) -> str:
    """List what to fetch elsewhere for a genome, and its place in `folder`: a block of lines per file."""
    lines = [f"{source.name}: {source.species}, {source.assembly} ({source.accession})"]
    for file in source.files:
        listed = LIST_OF.get(urlsplit(file.url).netloc)
        checksums = [
            f"{name} {value}" for name, value in (("md5", file.md5), ("sha256", file.sha256)) if value
        ]
        lines += [
            f"  {folder / file.name}",
            f"    from      {file.url}",
            f"    size      {'not published' if file.size is None else f'{file.size:,} bytes'}",
            f"    checksum  {', '.join(checksums) or 'not known here'}",
        ]
        if listed and not checksums:
            home = file.url.rpartition("/")[0]
            lines += [f"  {folder / listed}", f"    from      {home}/{listed}, by which the file is verified"]
    return "\n".join(lines)


def download(source: Source, folder: Path) -> Prepared:
    """Fetch the files of a genome into a folder and prepare them.

    Raises:
        UserError: one line that names the file and says what is wrong with it or with the way to it.
    """
    print(f"{source.species}, {source.assembly} ({source.accession})")
    print(f"terms: {source.terms}\ncite:  {source.citation}")
    with new_folder(folder), locked(folder, "another --out"):
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
