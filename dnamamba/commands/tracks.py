"""What `python -m dnamamba.tracks` does: per-base tracks of a FASTA file's records or regions, as bigWig."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dnamamba.commands.predict import PredictConfig, predict_to_file
from dnamamba.data.regions import RegionsConfig
from dnamamba.errors import Interrupted, UserError, signal_of
from dnamamba.files import replacing_together
from dnamamba.inference.device import load_any_on
from dnamamba.inference.inputs import in_order, read_inputs
from dnamamba.inference.output import named, output_path
from dnamamba.inference.progress import bases_read
from dnamamba.inference.streaming import Reader
from dnamamba.inference.together import Together, together
from dnamamba.inference.track_files import SUFFIXES, check_track_file, track_file
from dnamamba.inference.tracks import QUANTITIES, read_track
from dnamamba.models import PositionModel, SequenceModel
from dnamamba.plugins import load_plugins
from dnamamba.reached import so_far
from dnamamba.terminal import Console


@dataclass(frozen=True)
class TracksConfig:
    """The settings of conf/tracks.yaml, which explains each."""

    model: str
    fasta: str
    bed: str | None
    out: str
    quantity: str | None
    strand: str | None
    context: int
    device: str
    precision: str
    overwrite: bool
    plugins: list[str] | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    window: int | None = None
    stride: int | None = None
    label: str | None = None
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
    if config.regions.name is not None:
        raise UserError(
            f"regions.name: a bigWig has values without names (got {config.regions.name}); leave it out"
        )
    check_track_file(Path(config.out))
    load_plugins(config.plugins or [])
    model = load_any_on(config.model, group.device)
    if isinstance(model, PositionModel):
        raise UserError(
            f"model: {config.model} answers at every base (got a model of data=annotation); use dnamamba "
            "predict out=FILE.bw"
        )
    if isinstance(model, SequenceModel):
        if group.ranks is not None:
            raise UserError(
                f"context_size: {config.model} is fine-tuned, and answers window by window, each on one "
                f"process (got {config.context_size}); set 1"
            )
        predict_to_file(_of_answers(config))
        return
    for key in ("window", "stride", "label"):
        if getattr(config, key) is not None:
            raise UserError(
                f"{key}: {config.model} is pretrained, and answers no question window by window (got "
                f"{getattr(config, key)}); leave it out"
            )
    group.need(model.backbone)
    reader = Reader(model, precision=config.precision, ranks=group.ranks)
    source = config.fasta if config.bed is None else (config.fasta, config.bed)
    inputs = read_inputs(source, reader.alphabet, config.regions)
    for note in inputs.notes:
        errors.print(f"dnamamba: {note}", soft_wrap=True)
    inputs.need_linear("a bigWig")
    regions = in_order(inputs)
    lengths = {region.record: inputs.length(region.record) for region in regions}
    total = sum(region.length for region in regions)
    inputs.load(lengths)
    began = time.perf_counter()
    try:
        written = list(outputs.values()) if group.first else []
        with (
            replacing_together(written) if written else nullcontext(written) as besides,
            ExitStack() as files,
            bases_read(console, "reading", total) as advance,
        ):
            writers = {
                quantity: files.enter_context(track_file(beside, lengths, path))
                for beside, (quantity, path) in zip(besides, outputs.items(), strict=group.first)
            }
            for region in regions:
                folder = Path(os.path.expanduser(config.out)).parent
                for start, values in read_track(
                    reader, inputs, region, strand=config.strand or "forward", context=config.context,
                    folder=folder, advance=advance,
                ):  # fmt: skip
                    for quantity, writer in writers.items():
                        writer.add(region.record, start, values[QUANTITIES.index(quantity)])
    except OSError as error:
        raise UserError(f"can't write {config.out}: {error.strerror}") from error
    except KeyboardInterrupt as stop:
        raise Interrupted(f"stopped {so_far()}; {config.out} was not written", signal_of(stop)) from None
    seconds = time.perf_counter() - began
    for path in outputs.values():
        console.print(f"{total:,} bases in {seconds:.1f} s: {path}", soft_wrap=True)


def _of_answers(config: TracksConfig) -> PredictConfig:
    """Return the settings of `predict` for a fine-tuned model's track, of windows or regions.

    Raises:
        UserError: a setting of a pretrained model's track, or no windows.
    """
    for key, given in (("quantity", config.quantity), ("context", config.context or None)):
        if given is not None:
            raise UserError(
                f"{key}: {config.model} is fine-tuned, and its track is of its answer (got {given}); leave "
                "it out"
            )
    if config.window is None and config.bed is None:
        raise UserError(
            f"window: {config.model} is fine-tuned, and answers for windows; give window=N, about as many "
            "bases as the sequences it was fine-tuned on, and stride=M to let them overlap"
        )
    return PredictConfig(
        model=config.model,
        out=config.out,
        fasta=config.fasta,
        bed=config.bed,
        regions=config.regions,
        window=config.window,
        stride=config.stride,
        strand=config.strand,
        label=config.label,
        device=config.device,
        precision=config.precision,
        overwrite=config.overwrite,
        plugins=config.plugins or [],
    )


def _outputs(config: TracksConfig) -> dict[str, Path]:
    """Return an output file per quantity; with both, the quantity's name goes before the suffix."""
    quantity = config.quantity or QUANTITIES[0]
    if quantity in QUANTITIES:
        return {quantity: output_path(config.out, SUFFIXES, config.overwrite)}
    if quantity != "both":
        raise UserError(f"quantity: must be one of {', '.join(QUANTITIES)}, both (got {quantity!r})")
    out = named(config.out, SUFFIXES)
    names = {quantity: out.with_name(f"{out.stem}.{quantity}{out.suffix}") for quantity in QUANTITIES}
    return {q: output_path(str(name), SUFFIXES, config.overwrite) for q, name in names.items()}
