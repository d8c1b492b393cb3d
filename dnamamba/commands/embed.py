"""What `python -m dnamamba.embed` does: embeddings of a FASTA file's records or regions, to a file."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnamamba import __version__
from dnamamba.checkpoint import model_hash
from dnamamba.data.regions import RegionsConfig
from dnamamba.errors import Interrupted, UserError, signal_of
from dnamamba.inference.contexts import (
    EmbeddingConfig,
    Plan,
    check_batch_size,
    check_lengths,
    check_missing,
    rows_to_keep,
    stranded,
)
from dnamamba.inference.device import load_any_on
from dnamamba.inference.embedding import read_embeddings
from dnamamba.inference.inputs import Inputs, read_inputs
from dnamamba.inference.output import named, output_path
from dnamamba.inference.outputs import SUFFIXES, Info, Result, check_format, write_result
from dnamamba.inference.partial import Partial, tidy
from dnamamba.inference.progress import bases_read
from dnamamba.inference.streaming import Reader
from dnamamba.inference.together import Together, together
from dnamamba.plugins import load_plugins
from dnamamba.reached import so_far
from dnamamba.terminal import Console


@dataclass(frozen=True)
class EmbedConfig:
    """The settings of conf/embed.yaml, which explains each."""

    model: str
    fasta: str
    bed: str | None
    out: str
    layer: int
    pooling: str
    pool_every: int | None
    strand: str
    window: int | None
    stride: int | None
    batch_size: Any
    device: str
    precision: str
    missing: str
    overwrite: bool
    plugins: list[str] | None = None
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    context: str = "forward"
    context_size: int = 1


def embed_to_file(config: EmbedConfig) -> None:
    """Embed as `config` says. A run that was stopped resumes from what lies next to the output.

    Of several processes (`context_size`) each reads a part of every sequence, and the first one writes.

    Raises:
        UserError: the model, the FASTA or BED file, a number or the output can't be used; or the disk is
            full. What was finished stays next to the output.
        Interrupted: by the user; likewise.
    """
    with together(config.context_size, config.device) as group:
        _embed(config, group)


def _embed(config: EmbedConfig, group: Together) -> None:
    console, errors = (Console(quiet=not group.first, stderr=stderr) for stderr in (False, True))
    how = EmbeddingConfig(
        config.layer,
        config.pooling,
        config.strand,
        config.window,
        config.stride,
        config.pool_every,
        config.context,
    )
    check_missing(config.missing, how.pooling)
    out = group.by_first(lambda: _output(config))
    check_format(out, how.pooling)
    load_plugins(config.plugins or [])
    model = load_any_on(config.model, group.device)
    group.need(model.backbone)
    how = how.of(model)
    if how.by_head and group.ranks is not None:
        raise UserError(
            f"context_size: pooling={how.pooling} is read by one process (got {config.context_size})"
        )
    reader = Reader(model, precision=config.precision, ranks=group.ranks)
    reader.blocks(how.layer)
    check_batch_size(config.batch_size)
    source = config.fasta if config.bed is None else (config.fasta, config.bed)
    inputs = read_inputs(source, reader.alphabet, config.regions)
    for note in inputs.notes:
        errors.print(f"dnamamba: {note}", soft_wrap=True)
    plan = Plan(stranded(inputs.regions), how)
    check_lengths(reader, plan)
    if not group.first:
        done: list[int] = group.by_first(list)  # its own list comes
        for _ in read_embeddings(reader, inputs, plan, batch_size=config.batch_size, done=done):
            pass
        return
    info = _info(config, how, reader)
    width = how.width(model)
    settings = {**info, "regions_sha256": _regions_hash(inputs, config)}
    opened: list[Partial] = []

    def begun() -> list[int]:
        opened.append(Partial(out, plan, width, settings))
        return opened[0].done

    group.by_first(begun)
    (partial,) = opened
    began = time.perf_counter()
    if partial.done:
        console.print(f"{len(partial.done):,} of {len(plan.region):,} contexts are there already: resuming")
    length = plan.end - plan.start
    try:
        with bases_read(console, "embedding", int(length.sum() - length[partial.done].sum())) as advance:
            for part in read_embeddings(
                reader, inputs, plan, batch_size=config.batch_size, done=partial.done, advance=advance
            ):
                partial.add(part)
        values, table, said = partial.values(), plan.table(), None
        if how.pooling != "none":
            keep, said = rows_to_keep(values, table, config.missing)
            if not keep.all():
                values, table = partial.kept(keep), table.rows(keep)
        made = partial.place(f"result{out.suffix}")
        first_row = plan.first_row if how.pooling == "none" else None
        write_result(Result(values, table, first_row, info), made)
        partial.publish(made)
    except OSError as error:
        raise UserError(
            f"can't write {out}: {error.strerror}; what is finished is in {partial.folder}: "
            "the same command resumes from there"
        ) from error
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"stopped {so_far()}; the same command resumes from {partial.folder}", signal_of(stop)
        ) from None
    finally:
        partial.close()
    seconds = time.perf_counter() - began
    if said is not None:
        console.print(f"{said}; missing={config.missing}", soft_wrap=True)
    console.print(
        f"{len(values):,} vectors of {width} from {int(length.sum()):,} bases in {seconds:.1f} s: {out}",
        soft_wrap=True,
    )


def _output(config: EmbedConfig) -> Path:
    tidy(named(config.out, SUFFIXES))
    return output_path(config.out, SUFFIXES, config.overwrite)


def _info(config: EmbedConfig, how: EmbeddingConfig, reader: Reader) -> Info:
    info = {
        "format": "dnamamba-embeddings",
        "format_version": 1,
        "dnamamba": __version__,
        "model": config.model,
        "model_sha256": model_hash(reader.model),
        "alphabet": reader.alphabet.name,
        "fasta": config.fasta,
        "bed": config.bed,
        "regions": None if config.regions == RegionsConfig() else json.dumps(asdict(config.regions)),
        **asdict(how),
        "layer": reader.blocks(how.layer),
        "precision": reader.precision,
    }
    return {key: value for key, value in info.items() if value is not None}


def _regions_hash(inputs: Inputs, config: EmbedConfig) -> str:
    """Hash every region, and what their FASTA file holds: a replacement may have its size and time."""
    path = Path(os.path.expanduser(config.fasta))
    digest = hashlib.sha256()
    if path.is_file():  # not a pipe, which can be read once and never resumed from
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    for region in inputs.regions:
        digest.update(repr(region).encode())
    return digest.hexdigest()
