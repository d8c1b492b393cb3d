"""`python -m dnamamba.generate`: prompts in, FASTA out, one line a mistake."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig

import dnamamba
from dnamamba import Genome, MambaConfig, UserError, get_alphabet, save_model
from dnamamba.generate import run
from dnamamba.models import DecoderConfig, SequenceModel
from tests import processes


@pytest.fixture
def generate(inference_config: Callable[..., DictConfig], saved_model: Path) -> Callable[..., None]:
    return lambda *overrides: run(inference_config("generate", f"model={saved_model}", *overrides))


def records(path: Path) -> dict[str, str]:
    genome, alphabet = Genome(path, get_alphabet("dna")), get_alphabet("dna")
    return {name: alphabet.decode(genome.fetch(name)) for name in genome.names}


def test_letters_in_fasta_out(generate: Callable[..., None], saved_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "new.fa"
    generate(
        f"out={out}", "prompt=ACGTN", "length=200", "batch=2", "seed=3", "temperature=0.87654321", "top_k=3"
    )
    expected = dnamamba.generate(
        dnamamba.load(saved_model), "ACGTN", 200, batch=2, seed=3, temperature=0.87654321, top_k=3
    )
    assert records(out) == {"generated_1": expected[0], "generated_2": expected[1]}
    lines = out.read_text().splitlines()
    assert lines[0] == ">generated_1 prompt=5_letters copy=1 seed=3 temperature=0.87654321 top_k=3"
    assert [len(line) for line in lines[1:4]] == [80, 80, 40]
    assert lines[4].startswith(">generated_2 prompt=5_letters copy=2 ")


def test_records_and_regions_are_prompts(
    generate: Callable[..., None], saved_model: Path, genome: Path, tmp_path: Path
) -> None:
    model, text = dnamamba.load(saved_model), records(genome)
    generate(f"out={tmp_path / 'all.fa'}", f"fasta={genome}", "length=50")
    assert list(records(tmp_path / "all.fa").values()) == dnamamba.generate(model, list(text.values()), 50)
    generate(f"out={tmp_path / 'one.fa'}", f"fasta={genome}", "region=two:11-20", "length=50")
    assert list(records(tmp_path / "one.fa").values()) == dnamamba.generate(model, text["two"][10:20], 50)
    assert "prompt=two:11-20" in (tmp_path / "one.fa").read_text()


def test_a_result_is_not_replaced_unless_asked(generate: Callable[..., None], tmp_path: Path) -> None:
    out = tmp_path / "new.fa"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"new.fa is there already; set overwrite=true"):
        generate(f"out={out}", "prompt=ACG", "length=10")
    assert out.read_text() == "mine"
    generate(f"out={out}", "prompt=ACG", "length=10", "overwrite=true")
    assert len(records(out)["generated_1"]) == 10
    (tmp_path / "d.fa").mkdir()
    with pytest.raises(UserError, match=r"d.fa is there already, and it is a folder: choose another name"):
        generate(f"out={tmp_path / 'd.fa'}", "prompt=ACG", "length=10", "overwrite=true")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["out=new.fa"], "give either prompt=LETTERS or fasta=FILE"),
        (["out=new.fa", "prompt=ACG", "fasta=GENOME"], "give either prompt=LETTERS or fasta=FILE"),
        (["out=new.fa", "prompt=ACG", "region=two:1-5"], "region goes with fasta=FILE"),
        (["out=new.fa", "fasta=GENOME", "region=tow:1-5"], "no record 'tow'; did you mean two"),
        (["out=new.fa", "fasta=GENOME", "region=two:1-1001"], "'two:1-1001': two has bases 1 to 1,000"),
        (["out=new.fa", "fasta=GENOME", "region=two:0-5"], "two has bases 1 to 1,000"),
        (["out=new.fa", "fasta=GENOME", "region=two:9"], "region 'two:9' is not NAME:START-END"),
        (["out=new.txt", "prompt=ACG"], "must be a file's name that ends in .fa or .fasta"),
        (["out=.fa", "prompt=ACG"], "out=.fa: must be a file's name that ends in .fa or .fasta"),
        (["out=/dev/null/new.fa", "prompt=ACG"], "can't make its folder"),
        (["out=new.fa", "prompt=ACG", "length=many"], "length: expected a whole number (got 'many')"),
        (["out=new.fa", "prompt=ACG", "top_p=2"], "top_p: must be above 0 and at most 1 (got 2.0)"),
        (["out=new.fa", "prompt=ACG", "precision=fp16"], "precision=fp16: choose auto, fp32 or bf16"),
        (["out=new.fa", "prompt=ACG", "device=tpu9"], "device=tpu9 is not a device"),
        (["prompt=ACG"], "out: must be given"),
        (["out=new.fa", "prompt=ACG", "sample_rate=8000"], "sample_rate: is for models of sound (got 8000)"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    generate: Callable[..., None],
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: Sequence[str],
    message: str,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(UserError) as error:
        generate(*(override.replace("GENOME", str(genome)) for override in overrides))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(work.iterdir()) == []


def test_fine_tuned_model_has_no_bases_to_draw(
    inference_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    model = SequenceModel(MambaConfig(d_model=8, n_layer=1), DecoderConfig("regression", ("y",)))
    save_model(model, tmp_path / "classifier")
    with pytest.raises(UserError, match=r"classifier is a fine-tuned model without probabilities of bases"):
        run(inference_config("generate", f"model={tmp_path / 'classifier'}", "out=new.fa", "prompt=ACG"))


def test_the_command_as_typed(saved_model: Path, tmp_path: Path) -> None:
    """In an empty folder, which it leaves alone: no run folder, nothing but the result."""
    command = ("dnamamba.generate", f"model={saved_model}", "prompt=ACG", "length=20")
    failed = processes.run(*command, "out=new.txt", folder=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr == "dnamamba: error: out=new.txt: must be a file's name that ends in .fa or .fasta\n"
    assert list(tmp_path.iterdir()) == []
    done = processes.run(*command, "out=new.fa", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("new.fa\n")
    assert [path.name for path in tmp_path.iterdir()] == ["new.fa"]
