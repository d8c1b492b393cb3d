"""What `python -m dnamamba.tracks` does: per-base tracks of a FASTA file's records or regions, as bigWig."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from dnamamba.data.regions import RegionsConfig
from dnamamba.errors import Interrupted, UserError, signal_of
from dnamamba.inference.bigwig import bigwig
from dnamamba.inference.device import load_any_on
from dnamamba.inference.inputs import in_order, read_inputs
from dnamamba.inference.output import named, output_path
from dnamamba.inference.progress import bases_read
from dnamamba.inference.streaming import Reader
from dnamamba.inference.together import Together, together
from dnamamba.inference.tracks import QUANTITIES, read_track
from dnamamba.models import SequenceModel
from dnamamba.optional import need
from dnamamba.plugins import load_plugins
from dnamamba.terminal import Console

SUFFIXES = (".bw", ".bigwig", ".bigWig")


@dataclass(frozen=True)
class TracksConfig:
    """The settings of conf/tracks.yaml, which explains each."""

    model: str
    fasta: str
    bed: str | None
    out: str
    quantity: str
    strand: str
    context: int
    device: str
    precision: str
    overwrite: bool
    plugins: list[str] | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    context_size: int = 1


def tracks_to_bigwig(config: TracksConfig) -> None:
    """Write the tracks that `config` asks for, each file whole or not at all.

    Of several processes (`context_size`) each reads a part of every sequence, and the first one writes.

    Raises:
        UserError: the model, the FASTA or BED file, a value or the output can't be used, or the disk is full.
        Interrupted: by the user.
    """
    with together(config.context_size, config.device) as group:
        _write_tracks(config, group)


def _write_tracks(config: TracksConfig, group: Together) -> None:
    console, errors = (Console(quiet=not group.first, stderr=stderr) for stderr in (False, True))
    outputs = group.by_first(lambda: _outputs(config))
    need("pyBigWig", "tracks", config.out)
    load_plugins(config.plugins or [])
    model = load_any_on(config.model, group.device)
    group.need(model.backbone)
    if isinstance(model, SequenceModel):
        raise UserError(
            f"{config.model} is a fine-tuned model without probabilities of bases; for a sliding track of "
            "its answer use dnamamba predict window=N stride=M out=FILE.bw"
        )
    reader = Reader(model, precision=config.precision, ranks=group.ranks)
    source = config.fasta if config.bed is None else (config.fasta, config.bed)
    inputs = read_inputs(source, reader.alphabet, config.regions)
    for note in inputs.notes:
        errors.print(f"dnamamba: {note}", soft_wrap=True)
    regions = in_order(inputs)
    lengths = {region.record: inputs.length(region.record) for region in regions}
    total = sum(region.length for region in regions)
    inputs.load(lengths)
    began = time.perf_counter()
    try:
        with ExitStack() as files, bases_read(console, "reading", total) as advance:
            writers = {
                q: files.enter_context(bigwig(path, lengths)) for q, path in outputs.items() if group.first
            }
            for region in regions:
                folder = Path(os.path.expanduser(config.out)).parent
                for start, values in read_track(
                    reader, inputs, region, strand=config.strand, context=config.context,
                    folder=folder, advance=advance,
                ):  # fmt: skip
                    for quantity, writer in writers.items():
                        writer.add(region.record, start, values[QUANTITIES.index(quantity)])
    except OSError as error:
        raise UserError(f"can't write {config.out}: {error.strerror}") from error
    except KeyboardInterrupt as stop:
        raise Interrupted(f"stopped; {config.out} was not written", signal_of(stop)) from None
    seconds = time.perf_counter() - began
    for path in outputs.values():
        console.print(f"{total:,} bases in {seconds:.1f} s: {path}", soft_wrap=True)


def _outputs(config: TracksConfig) -> dict[str, Path]:
    """A file by quantity; with both, its name goes before the suffix."""
    if config.quantity in QUANTITIES:
        return {config.quantity: output_path(config.out, SUFFIXES, config.overwrite)}
    if config.quantity != "both":
        raise UserError(f"quantity must be one of {', '.join(QUANTITIES)}, both, not {config.quantity!r}")
    out = named(config.out, SUFFIXES)
    names = {quantity: out.with_name(f"{out.stem}.{quantity}{out.suffix}") for quantity in QUANTITIES}
    return {q: output_path(str(name), SUFFIXES, config.overwrite) for q, name in names.items()}
