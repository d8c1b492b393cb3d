"""A model that reads no bases is refused in one line, by its key, wherever bases are read."""

from importlib import import_module
from pathlib import Path

import pytest

from dnamamba import LanguageModel, MambaConfig, UserError, save_model
from dnamamba.config import composed, typed
from dnamamba.suite.running import run_benchmark
from dnamamba.suite.yeast_bits import YeastBits

ALPHABETS = {"octets": 256, "symbols": 16, "mulaw": 256, "text": 300}
COMMANDS = {
    "score": ("score", ("vcf={}/v.vcf", "window=32", "out={}/s.tsv")),
    "attribute": ("attribute_region", ("region=a:5-9", "context=8", "out={}/a.tsv")),
    "tracks": ("tracks_to_bigwig", ("out={}/t.bw",)),
    "embed": ("embed_to_file", ("out={}/e.npz",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each alphabet, a genome and a variant."""
    folder = tmp_path_factory.mktemp("letters")
    for name, size in ALPHABETS.items():
        shape = MambaConfig(d_model=8, n_layer=1, d_state=2, alphabet=name, vocab_size=size)
        save_model(LanguageModel(shape), folder / name)
    (folder / "g.fa").write_text(">a\n" + "ACGT" * 20 + "\n")
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "v.vcf").write_text(f"{head}a\t2\t.\tC\tA\t.\t.\t.\n")
    return folder


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("command", COMMANDS)
def test_model_of_no_bases_is_refused_by_key(command: str, alphabet: str, folder: Path) -> None:
    function, given = COMMANDS[command]
    module = import_module(f"dnamamba.commands.{command}")
    before = sorted(folder.rglob("*"))
    overrides = [
        f"model={folder / alphabet}",
        f"fasta={folder / 'g.fa'}",
        *(key.format(folder) for key in given),
    ]
    config = typed(composed(command, overrides), getattr(module, f"{command.capitalize()}Config"), "")
    with pytest.raises(UserError, match=r"^model: reads .*, not bases; give a model of DNA$"):
        getattr(module, function)(config)
    assert sorted(folder.rglob("*")) == before


def test_benchmark_refuses_model_of_no_bases(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^model: reads bytes, not bases; give a model of DNA$"):
        run_benchmark(YeastBits(), folder / "octets", tmp_path / "run", device="cpu")
    assert not [*tmp_path.iterdir()]
