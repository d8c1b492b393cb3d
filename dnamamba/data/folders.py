"""What the names in a folder say: which files are FASTA, which class each is of, and which split.

No file is left out without a word: what is not FASTA is known by its suffix, or named in an error.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from dnamamba.data.compression import OTHERS
from dnamamba.errors import UserError

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".fas", ".fsa", ".frn", ".faa", ".mfa", ".fst")
COMPRESSION_SUFFIXES = (".gz", ".bgz", ".bgzf", ".bz2", ".xz", ".zst", ".zip")
# What lies next to FASTA files, and is not sequence.
_COMPANIONS = (
    *(
        ".fai",
        ".gzi",
        ".dict",
        ".bed",
        ".gff",
        ".gff3",
        ".gtf",
        ".vcf",
        ".csv",
        ".tsv",
        ".tab",
        ".txt",
        ".json",
    ),
    *(
        ".yaml",
        ".yml",
        ".md",
        ".rst",
        ".pdf",
        ".html",
        ".log",
        ".md5",
        ".sha256",
        ".py",
        ".sh",
        ".ipynb",
        ".png",
    ),
)
_COMPANION_NAMES = (
    "readme",
    "license",
    "licence",
    "changelog",
    "citation",
    "md5sums",
    "sha256sums",
    "checksums",
)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def stem_of(path: Path) -> str:
    """Return the name without the suffixes of FASTA and of compression; all other dots are part of it.

    >>> stem_of(Path("data/E.coli.K-12.fna.gz"))
    'E.coli.K-12'
    """
    name = _uncompressed(path.name)
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in FASTA_SUFFIXES else name


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of splits in a folder, by name; empty if its folders are classes.

    Raises:
        UserError: folders of splits and others, or files, are mixed.
    """
    folders = [path for path in visible(folder) if path.is_dir()]
    splits = {path.name: path for path in folders if path.name.lower() in SPLIT_NAMES}
    others = [path for path in folders if path.name not in splits]
    if others and len({SPLIT_NAMES[name.lower()] for name in splits}) < 2:
        return {}
    others += [path for path in visible(folder) if splits and is_fasta(path)]
    if splits and others:
        raise UserError(
            f"{others[0]}: lies next to {', '.join(splits)}, which are splits, and belongs to none; "
            "move it into one of them, or out of the folder"
        )
    return splits


def classes_of(folder: Path) -> dict[str, list[Path]]:
    """Return the FASTA files of each class: the files of its folder, or one file of its name.

    Raises:
        UserError: there are none; a class without a file; a file or folder that can't be read as one.
    """
    classes: dict[str, list[Path]] = {}
    known = ", ".join(FASTA_SUFFIXES)
    for path in visible(folder):
        if path.is_dir():
            within = [inner for inner in visible(path) if inner.is_dir()]
            if within:
                raise UserError(f"{within[0]}: a folder within a class is not read; move its files up")
            files = [file for file in visible(path) if is_fasta(file)]
            if not files:
                raise UserError(f"{path}: a class with no FASTA file ({known})")
            classes.setdefault(path.name, []).extend(files)
        elif is_fasta(path):
            classes.setdefault(stem_of(path), []).append(path)
    if not classes:
        raise UserError(f"{folder}: neither folders nor FASTA files ({known})")
    return classes


def visible(folder: Path) -> list[Path]:
    """List a folder's files and folders, sorted, without hidden ones.

    Raises:
        UserError: it can't be read, or a name is not UTF-8, which no table of results could hold.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{path}: the name is not UTF-8; rename it") from None
    return paths


def is_fasta(path: Path) -> bool:
    """Return whether a file is to be read: by its name. What it is says its content.

    Raises:
        UserError: it is FASTA by another name, or neither FASTA nor what may lie next to it.
    """
    if path.is_dir():
        return False
    name = _uncompressed(path.name).lower()
    if name.endswith(FASTA_SUFFIXES):
        return True
    known = ", ".join(FASTA_SUFFIXES)
    head = _head(path)
    if head.startswith(b">"):
        raise UserError(f"{path}: FASTA by another name; rename it so that it ends in one of {known}")
    if not name.endswith(_COMPANIONS) and name.partition(".")[0] not in _COMPANION_NAMES:
        compressed = next(
            (f" compressed with {other}" for magic, other in OTHERS.items() if head[:6].startswith(magic)), ""
        )
        raise UserError(
            f"{path}: not a FASTA file ({known}) but{compressed or ' something else'}, and would be left "
            "out; give it as FASTA, or move it out of the folder"
        )
    return False


def _uncompressed(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in COMPRESSION_SUFFIXES else name


def _head(path: Path) -> bytes:
    """Return the first bytes of the text that are not blank; where the file can't be read, none."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if head.startswith(b"\x1f\x8b"):
            head = zlib.decompressobj(wbits=31).decompress(head, 4096)
    except (OSError, zlib.error):
        return b""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()
