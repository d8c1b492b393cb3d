"""The kinds of input that are fuzzed: seeds, the package's reading, and an independent one as truth."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dnamamba import Genome, UserError, get_alphabet
from dnamamba.checkpoint import load, model_hash, save_model
from dnamamba.config import typed
from dnamamba.data.variants import Vcf
from dnamamba.datasets.genome.config import GenomeConfig
from dnamamba.documents import check_file
from dnamamba.foreign import write_foreign
from dnamamba.inference.score_vcf import check
from dnamamba.inference.vcf_rows import Records
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.training.config import TrainConfig
from tests.data.fasta_texts import bgzip
from tests.robustness.cells import (
    CELLS,
    EXCEL,
    MARK,
    cells_truth,
    change_workbook,
    parquet_seeds,
    read_cells,
    workbook,
)
from tests.robustness.fuzzing import Format, Unreadable, mutated
from tests.robustness.interval_files import (
    BED,
    GFF3,
    GTF,
    LENGTHS,
    NAMED_BED,
    PEAKS,
    SPACED_BED,
    SYNONYMS,
    bed_truth,
    features_truth,
    read_bed_file,
    read_features,
    read_synonyms,
    synonyms_truth,
)
from tests.robustness.other_files import other_formats
from tests.robustness.position_files import position_formats

CADUCEUS = Path(__file__).parents[1] / "models" / "caduceus" / "ps"
BYTES, DNA = get_alphabet("bytes"), get_alphabet("dna")
GENOME = "".join(
    f">{name} a title\n" + "\n".join(sequence[i : i + 60] for i in range(0, len(sequence), 60)) + "\n"
    for name, sequence in (
        (name, "".join(random.Random(name).choices("ACGTN", k=length))) for name, length in LENGTHS.items()
    )
).encode()


# --- FASTA ---------------------------------------------------------------------------------------------


def read_fasta(path: Path) -> dict[str, bytes]:
    """Letters by record; as bases too, and a second time, from the cache."""
    genome, again = Genome(path, BYTES), Genome(path, BYTES)
    found = {name: BYTES.decode(genome.fetch(name)).encode("latin-1") for name in genome.names}
    pieces = {name: np.concatenate(list(again.pieces(name))) for name in again.names}
    assert {name: BYTES.decode(ids).encode("latin-1") for name, ids in pieces.items()} == found
    bases = Genome(path, DNA)
    try:
        bases.load()
    except UserError as error:
        assert "nucleotide" in str(error)  # noqa: PT017
    else:
        for name, letters in found.items():
            np.testing.assert_array_equal(bases.fetch(name), DNA.encode(letters))
    return found


def fasta_truth(data: bytes) -> dict[str, bytes]:
    """Each header's first word, and what is not white space in the lines below it."""
    text = data.removeprefix(MARK)
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    records: dict[str, list[bytes]] = {}
    letters: list[bytes] | None = None
    for line in text.split(b"\n"):
        if line.startswith(b">"):
            words = line[1:].decode().split(maxsplit=1)
            if not words or words[0] in records:
                raise Unreadable(f"a header without a name, or a second one of it: {line[:60]!r}")
            letters = records[words[0]] = []
        elif line.strip(bytes(range(33))):
            if letters is None:
                raise Unreadable("sequence before the first header")
            letters.append(bytes(byte for byte in line if byte > 32))
    found = {name: b"".join(parts) for name, parts in records.items()}
    if not all(found.values()):
        raise Unreadable("a record without sequence")
    return found


def unpacked(data: bytes) -> bytes:
    """The text of gzip data; of anything else itself, which is what the reader tells by the first bytes."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        text = _by_checksums(data)
        if text is None:
            raise Unreadable(f"gzip says {error}") from None
        return text


def _by_checksums(data: bytes) -> bytes | None:
    """The text of BGZF blocks whose checksums are right, though the mark of an end may be damaged."""
    texts = []
    while data:
        size = int.from_bytes(data[16:18], "little") + 1
        block, data = data[:size], data[size:]
        try:
            text = zlib.decompressobj(-15).decompress(block[18:-8])
        except zlib.error:
            return None
        if block[-8:] != zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little"):
            return None
        texts.append(text)
    return b"".join(texts)


def unpacked_first(truth: Any) -> Any:
    """The truth of a text, of its gzip data."""
    return lambda data: truth(unpacked(data))


def compressed(pack: Any) -> Any:
    """Change the text and compress it, or change what is compressed."""

    def change(data: bytes, rng: random.Random) -> bytes:
        return pack(mutated(gzip.decompress(data), rng)) if rng.random() < 0.5 else mutated(data, rng)

    return change


def _packed(text: bytes) -> bytes:
    return gzip.compress(text, 1, mtime=0)


# --- intervals, variants -------------------------------------------------------------------------------


def read_vcf(genome: Path) -> Any:
    """Rows of a VCF file, each checked against a genome."""
    bases = Genome(genome, DNA)

    def read(path: Path) -> list[tuple[Any, ...]]:
        vcf = Vcf(path)
        rows = [(row.name, row.position, row.ref, tuple(row.alts)) for row in vcf.rows()]
        assert check(vcf, Records(bases), lambda line: None).rows == len(rows)
        return rows

    return read


def vcf_truth(data: bytes) -> list[tuple[Any, ...]]:
    """Lines below the one of column names, by tabs."""
    rows: list[tuple[Any, ...]] = []
    lines = iter(unpacked(data).removeprefix(MARK).split(b"\n"))
    for line in lines:
        if not line.startswith(b"##"):
            break
    for line in lines:
        if line.strip():
            chrom, pos, _, ref, alt, *_ = line.rstrip(b"\r").split(b"\t")
            alts = () if alt == b"." else tuple(a.decode() if a.isalpha() else None for a in alt.split(b","))
            rows.append((chrom.decode("utf-8", "replace"), int(pos), ref.decode(), alts))
    return rows


# --- models and configurations ------------------------------------------------------------------------


def read_model(path: Path) -> str:
    """The hash of what a model folder holds."""
    return model_hash(load(path.parent))


def read_settings(path: Path) -> dict[str, Any]:
    """A user's file over the defaults, as a command makes its settings of it."""
    check_file(path)
    defaults = OmegaConf.create({"data": {}, "train": {}})
    try:
        given = OmegaConf.merge(defaults, OmegaConf.load(path))
        data = typed(given.data, GenomeConfig, "data")
        typed(given.train, TrainConfig, "train")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OmegaConfBaseException, OSError, yaml.YAMLError, ValueError, AttributeError) as error:
        # Hydra reads the file before a command does; what it raises is one line there.
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    return {"valid": data.valid, "test": data.test}


def settings_truth(data: bytes) -> dict[str, Any] | None:
    """Names as they are written; None where merge keys or interpolations say otherwise."""
    text = data.decode("utf-8-sig")
    written = yaml.load(text, Loader=yaml.BaseLoader) or {}
    if "<<" in text or "${" in text or not isinstance(written, dict):
        return None
    group = written.get("data") or {}
    return {key: _names(group.get(key)) for key in ("valid", "test")} if isinstance(group, dict) else None


def _names(value: Any) -> Any:
    if value in (None, "null", "~", "", "Null", "NULL"):
        return None
    return [value] if isinstance(value, str) else value


SETTINGS = [
    b"# @package _global_\ndata:\n  valid: [chr1, '1.10']\n  test: [X, \"010\"]\n  max_length: 64\n"
    b"train:\n  seed: 3\n",
    b"data: {valid: [a, b], test: null, batch_size: 4, markov_orders: [0, 2]}\n"
    b"train: {learning_rate: 1e-3}\n",
    b"data: &d\n  valid: chrII\n  length_warmup: {first_length: 16, steps: [1, 2]}\n"
    b"train:\n  betas: [0.9, 0.95]\n",
]
SYNONYMS |= {"chr2": "chr2", "1.10": "1.10", "chr3": "", "chrM": "", "NC_000003.12": ""}
UNEVEN = b">a\nACGT\nAC\n\nACGTACGT\n>b x\nACGTACGTAC GTACGT\n"


def variants() -> bytes:
    """A VCF file whose REF is that of the genome."""
    letters = "".join(GENOME.decode().split("\n")[1:8])
    alleles = ((3, "A"), (9, "C,G"), (20, "<DEL>"), (31, "ACGT"), (44, "."), (60, "R"), (77, "*,T"))
    rows = "".join(
        f"chr1\t{place}\trs{place}\t{letters[place - 1]}\t{alt}\t.\tPASS\tAF=0.5\tGT\t0/1\n"
        for place, alt in alleles
    )
    names = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\n"
    return f"##fileformat=VCFv4.2\n##x=1\n{names}{rows}".encode()


def windows(text: bytes) -> bytes:
    """The text as a Windows editor saves it."""
    return MARK + text.replace(b"\n", b"\r\n")


def _foreign(folder: Path, model: LanguageModel) -> Iterator[Format]:
    """The same model as other packages write it, in each of the two files; and the checkpoint of a run."""
    for layout, weights_file in (("hf", "model.safetensors"), ("state_spaces", "pytorch_model.bin")):
        for name in ("config.json", weights_file):
            place = folder / f"{layout}-{name.split('.')[0]}"
            write_foreign(model.config, model.state_dict(), place, layout, "")
            yield Format(f"{place.name}/{name}", [(place / name).read_bytes()], read_model)
    shutil.copytree(CADUCEUS, folder / "caduceus")
    yield Format("caduceus/config.json", [(CADUCEUS / "config.json").read_bytes()], read_model)
    out = io.BytesIO()
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"dnamamba": {"model": model.config.to_dict()}, "state_dict": weights}, out)
    yield Format("last.ckpt", [out.getvalue()], lambda path: model_hash(load(path)))


def _workbooks() -> Iterator[Format]:
    if find_spec("openpyxl") is not None:  # of the extra `excel`
        yield Format("t.xlsx", [workbook()], read_cells, None, change_workbook)


def formats(folder: Path) -> list[Format]:
    """All of them; `folder` takes what they share."""
    genome = folder / "genome.fa"
    genome.write_bytes(GENOME)
    model = LanguageModel(MambaConfig(d_model=8, n_layer=1, d_state=2))
    for name in ("one", "other"):
        save_model(model, folder / name)
    config, weights = ((folder / "one" / name).read_bytes() for name in ("config.json", "model.safetensors"))
    vcf, rows = variants(), read_vcf(genome)
    text, blocks = compressed(_packed), compressed(lambda text: bgzip(text, 100))
    records, cells, beds = map(unpacked_first, (fasta_truth, cells_truth(","), bed_truth))
    returns = GENOME.replace(b"\n", b"\r")
    return [
        Format("g.fa", [GENOME, UNEVEN, windows(GENOME), returns], read_fasta, fasta_truth),
        Format("g.fasta.gz", [_packed(GENOME), _packed(UNEVEN)], read_fasta, records, text),
        Format("b.fa.gz", [bgzip(GENOME, 100), bgzip(UNEVEN)], read_fasta, records, blocks),
        Format("r.bed", [BED, SPACED_BED, windows(BED)], read_bed_file(genome), bed_truth),
        Format("r.bed.gz", [_packed(BED), bgzip(BED, 50)], read_bed_file(genome), beds, text),
        Format("p.narrowPeak", [PEAKS, windows(PEAKS)], read_bed_file(genome), bed_truth),
        Format("names.bed", [NAMED_BED], read_synonyms, synonyms_truth),
        Format("a.gff3", [GFF3, windows(GFF3)], read_features, features_truth),
        Format("a.gtf", [GTF], read_features, features_truth),
        *position_formats(folder),
        Format("v.vcf", [vcf, windows(vcf)], rows, vcf_truth),
        Format("v.vcf.gz", [_packed(vcf), bgzip(vcf, 80)], rows, vcf_truth, text),
        Format("t.csv", [CELLS, EXCEL], read_cells, cells_truth(",")),
        Format("t.tsv", [CELLS.replace(b",", b"\t")], read_cells, cells_truth("\t")),
        Format("t.csv.gz", [_packed(CELLS)], read_cells, cells, text),
        *_workbooks(),
        Format("t.parquet", list(parquet_seeds()), read_cells),
        Format("one/config.json", [config], read_model),
        Format("other/model.safetensors", [weights], read_model, lambda data: model_hash(model)),
        *_foreign(folder, model),
        Format("x.yaml", SETTINGS, read_settings, settings_truth),
        *other_formats(folder),
    ]
