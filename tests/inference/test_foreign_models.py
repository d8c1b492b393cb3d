"""Other packages' models and other families in the commands: what they compute, and what they refuse."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dnamamba import LanguageModel, MambaConfig, UserError, embed, generate, get_alphabet, save_model, tracks
from dnamamba.foreign import write_foreign
from dnamamba.models.caduceus.config import CaduceusConfig
from dnamamba.models.hyena.config import HyenaConfig
from dnamamba.models.transformer.config import TransformerConfig
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.config import FinetuneTrainConfig
from dnamamba.training.finetuning import Finetuning

from .conftest import random_dna

LETTERS = random_dna(150)


def drawn(config: object) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(config).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.fixture
def relettered(tmp_path: Path) -> tuple[LanguageModel, Path]:
    """A model of dna, and the same one in the ids of a character tokenizer, as mamba_ssm's folder."""
    model = drawn(MambaConfig(d_model=16, n_layer=2, d_state=4))
    other = drawn(MambaConfig(d_model=16, n_layer=2, d_state=4, alphabet="characters", vocab_size=12))
    weights, table = model.state_dict(), model.backbone.embedding.weight
    moved = other.backbone.embedding.weight.detach().clone()
    moved[7:12] = table[:5]
    other.load_state_dict({**weights, "backbone.embedding.weight": moved})
    write_foreign(other.config, other.state_dict(), tmp_path / "foreign", "state_spaces", "")
    (tmp_path / "foreign" / "dnamamba.json").unlink()
    return model, tmp_path / "foreign"


def test_every_command_reads_letters_of_foreign_folder(
    relettered: tuple[LanguageModel, Path], tmp_path: Path
) -> None:
    model, folder = relettered
    foreign = importlib.import_module("dnamamba.checkpoint").load(folder)
    (tmp_path / "g.fa").write_text(f">a\n{LETTERS}\n")
    run_command("embed", f"model={folder}", f"fasta={tmp_path / 'g.fa'}", f"out={tmp_path / 'e.npz'}")
    values = np.load(tmp_path / "e.npz")
    found = next(values[name] for name in values.files if values[name].shape == (1, 16))
    np.testing.assert_allclose(found, embed(model, [LETTERS]), rtol=1e-5, atol=1e-6)

    out = tmp_path / "new.fa"
    run_command("generate", f"model={folder}", "prompt=ACGTN", "length=40", "temperature=0", f"out={out}")
    written = "".join(out.read_text().splitlines()[1:])
    assert written == generate(foreign, "ACGTN", 40, temperature=0)[0]
    assert set(written) <= set("ACGT")
    with pytest.raises(UserError, match="'!' at position 3"):
        generate(foreign, "AC!T", 2)

    ids = torch.from_numpy(get_alphabet("characters").encode(LETTERS).copy())
    with torch.no_grad():
        bits = foreign(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None].long())[:, 0]
    known = np.array([letter != "N" for letter in LETTERS[1:]])
    likelihood = tracks(foreign, [LETTERS])[0].log_likelihood[1:]
    np.testing.assert_allclose(likelihood[known], bits[known].numpy() / np.log(2), rtol=1e-4, atol=1e-5)
    assert np.isnan(likelihood[~known]).all()


def run_command(name: str, *overrides: str) -> None:
    from dnamamba.config import composed

    importlib.import_module(f"dnamamba.{name}").run(composed(name, list(overrides)))


def test_ps_embeddings_are_reversed_for_other_strand() -> None:
    model = drawn(CaduceusConfig(d_model=12, n_layer=2))
    dna = get_alphabet("dna")
    other = dna.decode(dna.reverse_complement(dna.encode(LETTERS)))
    one, two = embed(model, [LETTERS, other])
    assert one.shape == (24,)
    np.testing.assert_allclose(two[::-1], one, rtol=1e-5, atol=1e-5)
    assert np.abs(two - one).max() > 0.01


def test_generate_refuses_a_model_that_reads_both_ways() -> None:
    with pytest.raises(UserError, match="generate needs a model that is causal and recurrent"):
        generate(drawn(CaduceusConfig(d_model=8, n_layer=1)), "ACGT", 3)


def test_transformer_has_likelihoods_but_generate_refuses_it() -> None:
    model = drawn(TransformerConfig(d_model=16, n_layer=1, d_head=8))
    ids = torch.from_numpy(get_alphabet("dna").encode(LETTERS).copy())
    with torch.no_grad():
        wanted = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None].long())[:, 0]
    known = np.array([letter != "N" for letter in LETTERS[1:]])
    found = tracks(model, [LETTERS])[0].log_likelihood[1:]
    np.testing.assert_allclose(found[known], wanted[known].numpy() / np.log(2), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="generate needs a model that is recurrent"):
        generate(model, "ACGT", 3)


def test_hyena_embeds_and_scores_by_windows_but_generate_refuses_it(tmp_path: Path) -> None:
    model = drawn(HyenaConfig(d_model=16, n_layer=2, max_length=64, d_filter=8))
    save_model(model, tmp_path / "m")
    letters = LETTERS.replace("N", "A")
    (tmp_path / "g.fa").write_text(f">a\n{letters}\n")
    shared = (f"model={tmp_path / 'm'}", f"fasta={tmp_path / 'g.fa'}")
    with pytest.raises(UserError, match="a:1-150: the family hyena reads at most 64 bases at once"):
        run_command("embed", *shared, f"out={tmp_path / 'e.npz'}")
    run_command("embed", *shared, f"out={tmp_path / 'e.npz'}", "window=50")
    values = np.load(tmp_path / "e.npz")
    found = next(values[name] for name in values.files if values[name].shape == (3, 16))
    ids = torch.from_numpy(get_alphabet("dna").encode(letters).copy())
    with torch.no_grad():
        wanted = torch.stack([model.backbone(ids[None, i : i + 50]).hidden[0].mean(0) for i in (0, 50, 100)])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    other = "A" if letters[74] != "A" else "C"
    header = "##fileformat=VCFv4.2\n##contig=<ID=a>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "v.vcf").write_text(f"{header}a\t75\t.\t{letters[74]}\t{other}\t.\t.\t.\n")
    out = tmp_path / "s.tsv"
    run_command("score", *shared, f"vcf={tmp_path / 'v.vcf'}", f"out={out}", "window=60", "strand=forward")
    names, row = (line.split("\t") for line in out.read_text().splitlines() if not line.startswith("##"))
    window = ids[44:104].long()
    both = torch.stack([window, window.clone()])
    both[1, 30] = int(get_alphabet("dna").encode(other)[0])
    with torch.no_grad():
        bits = model(both).logits[:, :-1].log_softmax(-1).gather(2, both[:, 1:, None]).sum((1, 2))
    score = float(row[next(i for i, name in enumerate(names) if "llr" in name.lower())])
    assert score == pytest.approx((bits[1] - bits[0]).item(), abs=1e-4)
    with pytest.raises(UserError, match="generate needs a model that is recurrent, and the family hyena"):
        generate(model, "ACGT", 3)


@pytest.mark.parametrize("family", ["mamba", "caduceus", "hyena"])
def test_a_foreign_folder_is_fine_tuned(family: str, tmp_path: Path) -> None:
    """The first base in every base of a sequence: a class that any model tells after a few steps."""
    shape = {"d_model": 8, "n_layer": 1, "alphabet": "characters", "vocab_size": 12}
    config = {
        "mamba": lambda: MambaConfig(**shape),
        "caduceus": lambda: CaduceusConfig(**shape),
        "hyena": lambda: HyenaConfig(**shape, max_length=32, tied=False),
    }[family]()
    format_ = {"mamba": "hf", "caduceus": "caduceus", "hyena": "hyenadna"}[family]
    model = drawn(config)
    write_foreign(config, model.state_dict(), tmp_path / "f", format_, "")
    rng = np.random.default_rng(0)
    rows = []
    for place in range(80):
        letters, label = (("AAT", "at"), ("GGC", "gc"))[place % 2]
        split = ("train", "train", "valid", "test")[place // 2 % 4]
        rows.append(f"s{place},{''.join(rng.choice(list(letters), 24))},{label},{split}\n")
    (tmp_path / "t.csv").write_text("id,sequence,label,split\n" + "".join(rows))
    from dnamamba import LabelledConfig

    result = Finetuning(
        tmp_path / "run",
        LabelledConfig(table=str(tmp_path / "t.csv"), batch_size=8),
        tmp_path / "f",
        task=TaskConfig(bootstrap=20),
        train=FinetuneTrainConfig(
            max_steps=8, global_batch_size=8, learning_rate=3e-2, validate_every=8, checkpoint_every=8
        ),
        quiet=True,
    ).run()
    assert result is not None
    assert result.results["test"]["accuracy"]["value"] == 1.0
    found = result.model.config
    assert (found.family, found.alphabet, found.width) == (family, "characters", model.config.width)


def test_saved_families_keep_their_name(tmp_path: Path) -> None:
    model = drawn(TransformerConfig(d_model=16, n_layer=1, d_head=8))
    save_model(model, tmp_path / "m")
    again = importlib.import_module("dnamamba.checkpoint").load(tmp_path / "m")
    assert again.config == model.config
