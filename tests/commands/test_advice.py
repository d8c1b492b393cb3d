"""An error advises keys that its command has, and no others."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from dnamamba import DecoderConfig, LanguageModel, MambaConfig, SequenceModel, UserError, save_model
from dnamamba.commands.help import conf_dir, settings
from dnamamba.config import composed

GFF3 = "##gff-version 3\nchr1\tx\tgene\t11\t30\t.\t+\t.\tID=a\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\t5\t.\tA\tC\t.\t.\t.\n"
GROUPS = "data|train|trainer|task|decoder|scratch|regions|columns|model"
KEY = re.compile(rf"(?<![\w./])(?:{GROUPS})\.[a-z_]+(?:\.[a-z_]+)*")
SET = re.compile(r"(?:set|give) ([a-z_]+)=")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("protein.fa").write_text(">chr1\n" + "MKLVEEQRSTWYFPIH" * 20 + "\n")
    Path("g.fa").write_text(">chr1\n" + "ACGT" * 20 + "\n")
    Path("g.gff3").write_text(GFF3)
    Path("blocks.bed").write_text("chr1\t0\t30\tx\t0\t+\t0\t30\t0\t2\t5,5\t0,25\n")
    Path("t.csv").write_text("Seq;Wert\nACGT;1\n")
    Path("v.vcf").write_text(VCF)
    torch.manual_seed(0)
    save_model(LanguageModel(MambaConfig(8, 1)), "lm")
    save_model(SequenceModel(MambaConfig(8, 1), DecoderConfig("classification", ("a", "b"))), "ft")


def known_to(cfg: DictConfig, command: str, key: str) -> bool:
    """Whether a command's configuration, or its help, has a key."""
    missing = object()
    shown = {setting.name for setting in settings((conf_dir() / f"{command}.yaml").read_text())}
    return key in shown or OmegaConf.select(cfg, key, default=missing) is not missing


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("embed", ["model=lm", "fasta=protein.fa", "out=o.csv"]),
        ("embed", ["model=lm", "fasta=g.fa", "bed=g.gff3", "out=o.csv"]),
        ("embed", ["model=lm", "fasta=g.fa", "bed=blocks.bed", "out=o.csv"]),
        ("score", ["model=lm", "fasta=protein.fa", "vcf=v.vcf", "out=o.csv"]),
        ("score", ["model=lm", "fasta=protein.fa", "region=1:1-5", "out=o.csv"]),
        ("tracks", ["model=lm", "fasta=protein.fa", "out=o.bw"]),
        ("tracks", ["model=lm", "fasta=g.fa", "bed=g.gff3", "out=o.bw"]),
        ("generate", ["model=lm", "fasta=protein.fa", "out=o.fa"]),
        ("predict", ["model=ft", "fasta=protein.fa", "out=o.csv"]),
        ("predict", ["model=ft", "fasta=g.fa", "bed=g.gff3", "out=o.csv"]),
        ("predict", ["model=ft", "table=t.csv", "out=o.csv"]),
        ("predict", ["model=ft", "table=t.csv", "+columns.foo=x", "out=o.csv"]),
        ("finetune", ["model=scratch", "data.fasta=g.fa", "data.bed=g.gff3", "data.regions.label=ID"]),
        ("finetune", ["model=scratch", "data.fasta=g.fa", "data.bed=g.gff3", "data.regions.upstream=-5"]),
        ("finetune", ["model=scratch", "data.table=t.csv"]),
        ("finetune", ["model=scratch", "data.table=t.csv", "+data.columns.foo=x"]),
        ("finetune", ["model=scratch", "data.table=t.csv", "data.columns.label=[leaf,root]"]),
        ("pretrain", ["data.fasta=protein.fa", "data.max_length=32"]),
        ("pretrain", ["+trainer.accumulate_grad_batches=2"]),
        ("pretrain", ["+trainer.profiler=simple"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_error_advises_only_keys_of_its_command(
    here: None, command: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed(command, given)
    module = import_module(f"dnamamba.{command}")
    if hasattr(module, "output_dir"):
        monkeypatch.setattr(module, "output_dir", lambda: Path("run"))
    with pytest.raises(UserError) as error:
        module.run(cfg)
    said = str(error.value)
    assert "\n" not in said
    subject = said.partition(":")[0]
    for key in {*KEY.findall(said), *SET.findall(said)} - {subject}:
        assert known_to(cfg, command, key), f"{command}: {said}"
    assert not Path("run").exists()


def test_a_key_of_lightning_is_told_its_own_name(here: None) -> None:
    cfg = composed("pretrain", ["+trainer.max_epochs=3"])
    with pytest.raises(UserError, match=r"^trainer\.max_epochs: no such setting; set train\.max_steps$"):
        import_module("dnamamba.commands.pretrain").settings_of(cfg, Path("run"))


def test_a_table_of_other_columns_is_read_by_its_own_separator(here: None) -> None:
    cfg = composed("predict", ["model=ft", "table=t.csv", "out=o.csv"])
    with pytest.raises(UserError, match="no column sequence; its columns are Seq, Wert"):
        import_module("dnamamba.predict").run(cfg)
