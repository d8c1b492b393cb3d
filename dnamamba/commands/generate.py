"""What `python -m dnamamba.generate` does: prompts from letters or a file, new sequences to another."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from dnamamba.commands import generate_bytes
from dnamamba.commands.generate_text import write_text
from dnamamba.data.alphabet import Alphabet, Ids, get_alphabet
from dnamamba.data.embedded import YEAST_MODEL
from dnamamba.data.fasta import Genome
from dnamamba.data.regions import parse_region
from dnamamba.data.synonyms import Synonyms
from dnamamba.errors import UserError
from dnamamba.escaping import printable
from dnamamba.files import replacing
from dnamamba.inference.device import load_on, precision_of
from dnamamba.inference.generation import BLOCK, encode_prompt, generate_blocks
from dnamamba.inference.output import output_path
from dnamamba.inference.sampling import Sampling
from dnamamba.inference.text import is_text
from dnamamba.plugins import load_plugins
from dnamamba.reached import Reached
from dnamamba.terminal import Console

LINE = 80  # letters


@dataclass(frozen=True)
class GenerateConfig:
    """The settings of conf/generate.yaml, which explains each."""

    model: str | None
    out: str | None
    length: int
    prompt: str | None
    fasta: str | None
    region: str | None
    batch: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int
    device: str
    precision: str
    overwrite: bool
    prompt_file: str | None = None
    sample_rate: int | None = None
    tokenizer: str | None = None
    plugins: list[str] | None = None


def generate_to_file(config: GenerateConfig) -> None:
    """Generate as `config` says and write the FASTA file, or text or sound, whole or not at all.

    Raises:
        UserError: the model, the prompt, a number or the output can't be used; nothing was written.
    """
    console = Console()
    # Only the model says whether text or sound may be written, or text printed without a file.
    later = config.out is None or config.out.endswith(tuple(generate_bytes.SUFFIXES.values()))
    out = None if later else _fasta(config)
    sampling = Sampling(config.temperature, config.top_k, config.top_p)
    load_plugins(config.plugins or [])
    model = load_on(YEAST_MODEL if config.model is None else config.model, config.device)
    if is_text(model):
        write_text(model, config, sampling)
        return
    if config.tokenizer is not None:
        raise UserError(f"tokenizer: goes with a text model (got {config.tokenizer}); leave it out")
    alphabet = get_alphabet(model.config.alphabet)
    of_bytes = generate_bytes.SUFFIXES.get(alphabet.name)
    if of_bytes is not None:
        generate_bytes.check(config, of_bytes)
        out = output_path(config.out or "", (of_bytes,), config.overwrite)
    elif config.prompt_file is not None:
        raise UserError("prompt_file: is for models of text and sound; give prompt=LETTERS or fasta=FILE")
    if config.sample_rate is not None and alphabet.name != "mulaw":
        raise UserError(f"sample_rate: is for models of sound (got {config.sample_rate}); leave it out")
    out = out or _fasta(config)
    prompts = _prompts(config, alphabet) if of_bytes is None else generate_bytes.prompts(config, alphabet)
    began = time.perf_counter()
    with precision_of(model, config.precision):
        blocks = generate_blocks(
            model, list(prompts.values()), config.length, sampling, config.seed, config.batch
        )
        shown = track(
            blocks,
            "generating",
            total=-(-config.length // BLOCK),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        reached, drawn_blocks = Reached(config.length, "bases of each sequence"), []
        for block in shown:
            drawn_blocks.append(block)
            reached(block.shape[1])
        rows = np.concatenate(drawn_blocks, axis=1)
    seconds = time.perf_counter() - began
    if of_bytes is None:
        _write_fasta(config, out, rows, list(prompts), alphabet)
    else:
        generate_bytes.write(out, rows[0], alphabet, generate_bytes.rate_of(config))
    console.print(
        f"{len(rows)} sequence(s) of {config.length:,} {alphabet.unit}s in {seconds:.1f} s: {out}",
        soft_wrap=True,
        highlight=False,
    )


def _write_fasta(
    config: GenerateConfig, out: Path, rows: Ids, prompts: list[str], alphabet: Alphabet
) -> None:
    """Write sequences [rows, length], each with a header that says how it was drawn."""
    temperature = repr(config.temperature).removesuffix(".0")  # with all digits, to make the file again
    drawn = f"seed={config.seed} temperature={temperature}"
    drawn += "".join(
        f" {name}={value}" for name in ("top_k", "top_p") if (value := getattr(config, name)) is not None
    )
    with replacing(out) as beside, beside.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            prompt, copy = prompts[number // config.batch], number % config.batch + 1
            file.write(f">generated_{number + 1} prompt={printable(prompt)} copy={copy} {drawn}\n")
            letters = alphabet.decode(row)
            file.writelines(letters[i : i + LINE] + "\n" for i in range(0, len(letters), LINE))


def _fasta(config: GenerateConfig) -> Path:
    if config.out is None:
        raise UserError("out: must be given")
    return output_path(config.out, (".fa", ".fasta"), config.overwrite)


def _prompts(config: GenerateConfig, alphabet: Alphabet) -> dict[str, Ids]:
    """Return the prompts' ids, by their names in the output's headers."""
    if (config.prompt is None) == (config.fasta is None):
        raise UserError("give either prompt=LETTERS or fasta=FILE, whose records are the prompts")
    if config.prompt is not None:
        if config.region is not None:
            raise UserError("region goes with fasta=FILE, not with prompt=LETTERS")
        return {f"{len(config.prompt)}_letters": encode_prompt(config.prompt, alphabet)}
    assert config.fasta is not None
    genome = Genome(config.fasta, alphabet)
    if config.region is None:
        empty = next((name for name, length in genome.lengths.items() if not length), None)
        if empty is not None:
            raise UserError(f"{config.fasta}, record {empty}: the prompt is empty")
        return {name: genome.fetch(name) for name in genome.names}
    synonyms = Synonyms(genome.lengths)
    region = parse_region(config.region, genome.lengths, synonyms)
    for line in synonyms.said():
        Console(stderr=True).print(f"dnamamba: {line}", soft_wrap=True)
    return {f"{region.name}:{region.start + 1}-{region.end}": genome.fetch(*region)}
