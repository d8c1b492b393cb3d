"""What `dnamamba attribute` does: a region, a model and a method to a table, a picture and a bigWig."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnamamba.checkpoint import Model
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_FASTA, YEAST_MODEL
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import Interval
from dnamamba.data.regions import parse_region
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError
from dnamamba.escaping import drawable
from dnamamba.files import replacing_together
from dnamamba.inference.answers import label_taken, number_of_label
from dnamamba.inference.attribution import ALL_POINTS, METHODS, MOST_POINTS, Attribution, attribute, turns_of
from dnamamba.inference.bigwig import bigwig
from dnamamba.inference.dependency import dependency_map
from dnamamba.inference.device import load_any_on
from dnamamba.inference.output import output_path
from dnamamba.inference.progress import bar
from dnamamba.inference.score_tables import SUFFIXES, check_format, table
from dnamamba.models import PositionModel, SequenceModel
from dnamamba.optional import need
from dnamamba.plugins import load_plugins
from dnamamba.reports.attribution import attribution_figure, dependency_figure
from dnamamba.reports.figures import draw
from dnamamba.terminal import Console

DEPENDENCY = "dependency"
WORDS = {"gradient": "gradient", "integrated": "integrated gradients", "ism": "every single-base change"}


@dataclass(frozen=True)
class AttributeConfig:
    """The settings of conf/attribute.yaml, which explains each.

    Raises:
        UserError: the method or the tolerance can't be.
    """

    model: str | None
    region: str
    out: str
    fasta: str | None
    method: str
    context: int
    strand: str
    label: str | None
    at: str | None
    tolerance: float
    bigwig: bool
    device: str
    overwrite: bool
    plugins: list[str] | None = None

    def __post_init__(self) -> None:
        methods = (*METHODS, DEPENDENCY)
        if self.method not in methods:
            raise UserError(f"method: must be one of {', '.join(methods)} (got {self.method!r})")
        if not self.tolerance > 0:
            raise UserError(f"tolerance: must be above 0 (got {self.tolerance})")
        for key in ("bigwig", "label", "at") if self.method == DEPENDENCY else ():
            if getattr(self, key) not in (False, None):
                raise UserError(f"{key}: has no meaning with method=dependency; leave it out")


def attribute_region(config: AttributeConfig) -> None:
    """Attribute as `config` says and write the files, each whole or not at all.

    Raises:
        UserError: the model, the region, the genome or the output can't be used; nothing was written.
    """
    out = output_path(config.out, SUFFIXES, config.overwrite)
    check_format(out)
    picture = output_path(str(out.with_suffix(".png")), (".png",), config.overwrite)
    track = None
    if config.bigwig:
        need("pyBigWig", "tracks", "bigwig=true")
        track = output_path(str(out.with_suffix(".bw")), (".bw",), config.overwrite)
    load_plugins(config.plugins or [])
    model = load_any_on(config.model or YEAST_MODEL, config.device)
    genome = Genome(config.fasta or YEAST_FASTA, get_alphabet(model.config.alphabet))
    synonyms = Synonyms(genome.lengths)
    region = parse_region(config.region, genome.lengths, synonyms)
    at = None if config.at is None else parse_region(config.at, genome.lengths, synonyms)
    for line in synonyms.said():
        Console(stderr=True).print(f"dnamamba: {line}", soft_wrap=True)
    if config.method != DEPENDENCY:
        Console(stderr=True).note(label_taken(model, config.label))
    console = Console()
    turns = len(turns_of(model, config.strand))
    size, what = (ALL_POINTS, "points at most") if config.method == "integrated" else (region.length, "bases")
    with bar(console, "reading", turns * size, what) as advance:
        if config.method == DEPENDENCY:
            said = _depend(config, model, genome, region, (out, picture), advance)
        else:
            said = _attribute(config, model, genome, region, at, (out, picture), track, advance)
    files = ", ".join(str(path) for path in (out, picture, track) if path is not None)
    console.print(f"{said}: {files}", soft_wrap=True, highlight=False)


def _attribute(
    config: AttributeConfig,
    model: Model,
    genome: Genome,
    region: Interval,
    at: Interval | None,
    paths: tuple[Path, Path],
    track: Path | None,
    advance: Callable[[int], None],
) -> str:
    found = attribute(
        model,
        genome,
        region,
        config.method,
        context=config.context,
        strand=config.strand,
        label=config.label,
        at=at,
        tolerance=config.tolerance,
        advance=advance,
    )
    what = f"{WORDS[config.method]}, {found.unit}"
    first, of = region.start + 1, _subject(config, model)
    figure = attribution_figure(
        found.letters, found.values, found.contribution, region.name, first, f"{what}\n{of}"
    )
    with replacing_together(paths if track is None else (*paths, track)) as (out, picture, *others):
        write_table(found, out)
        draw(figure, picture)
        for beside in others:
            with bigwig(beside, genome.lengths, track) as writer:
                writer.add(region.name, region.start, found.contribution.astype(np.float32))
    return f"{region.length:,} bases, {what}{_of_sum(found, config)}"


def _of_sum(found: Attribution, config: AttributeConfig) -> str:
    """Say how well integrated gradients add up, and what to do where they do not."""
    if config.method != "integrated":
        return ""
    missed = f"the sum misses the difference by {found.gap:.2g} of {found.difference:.4g}"
    if found.converged:
        return f"; {missed}"
    return (
        f"; not converged: {missed}, tolerance {config.tolerance:g}, with {MOST_POINTS:,} points; "
        "take method=ism (exact) or a smaller context"
    )


def _subject(config: AttributeConfig, model: Model) -> str:
    """Name what a picture is of: the label, if the model has some, and the model's folder."""
    path = Path(os.path.abspath(os.path.expanduser(config.model or YEAST_MODEL)))
    folders = [each for each in (path, *path.parents) if each.name not in ("model", "checkpoints")]
    folder = next(each for each in folders if each.suffix != ".ckpt").name
    if not isinstance(model, SequenceModel | PositionModel):
        return drawable(f"model {folder}", 80)
    labels = model.decoder.head.labels
    label = labels[number_of_label(labels, config.label)]
    return f"label {drawable(label, 40)}, model {drawable(folder, 40)}"


def _depend(
    config: AttributeConfig,
    model: Model,
    genome: Genome,
    region: Interval,
    paths: tuple[Path, Path],
    advance: Callable[[int], None],
) -> str:
    found = dependency_map(
        model, genome, region, context=config.context, strand=config.strand, advance=advance
    )
    letters = genome.alphabet.decode(genome.fetch(*region)).upper()
    figure = dependency_figure(letters, found, region.name, region.start + 1, _subject(config, model))
    with replacing_together(paths) as (out, picture):
        with table(out, [b"chrom", b"pos", b"base", b"expected_pos", b"expected_base", b"dependency"]) as add:
            for i, j in np.argwhere(np.isfinite(found)).tolist():
                cells = region.start + i + 1, letters[i], region.start + j + 1, letters[j]
                add([each.encode() for each in (region.name, *map(str, cells), f"{found[i, j]:.6g}")])
        draw(figure, picture)
    return f"{int(np.isfinite(found).sum()):,} pairs of {region.length:,} bases"


def write_table(found: Attribution, path: Path) -> None:
    """Write a line per base: record, position from 1, base, contribution, and the values of all four."""
    names = [b"chrom", b"pos", b"base", b"contribution", *(f"value_{one}".encode() for one in "ACGT")]
    with table(path, names) as add:
        for row, letter in enumerate(found.letters):
            numbers = found.contribution[row], *found.values[row]
            cells = ["NA" if np.isnan(number) else f"{number:.6g}" for number in numbers]
            position = str(found.region.start + row + 1)
            add([each.encode() for each in (found.region.name, position, letter, *cells)])
