"""Overrides as typed reach the program as typed; what is empty is refused."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dnamamba.commands.mistakes import one_line
from dnamamba.commands.overrides import as_typed, map_keys
from dnamamba.commands.plan import print_finetuning_plan
from dnamamba.commands.schema import _check_names
from dnamamba.config import _check_no_empty, composed
from dnamamba.errors import UserError


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("region=1.10", "1.10"),
        ("region=1_2", "1_2"),
        ("data.valid=[010,1e5]", ["010", "1e5"]),
        ("data.label_names=[yes,no]", ["yes", "no"]),
        ("data.columns.label=1.10", "1.10"),
        ("data.columns.split=yes", "yes"),
        ("regions.feature=5e3", "5e3"),
        ("data.valid=Chr1", ["Chr1"]),
        ("plugins=my_package.models", ["my_package.models"]),
        ("data.valid=1,2", ["1", "2"]),
        ("columns.sequence=1.10", "1.10"),
        ("data.valid=null", None),
        ("data.valid=[null,NULL,a]", ["null", "NULL", "a"]),
        ("task.class_weights={null: 1, 010: 2}", {"_null_": 1, "010": 2}),
        ("data.valid=[]", []),
        ("data.valid=${data.test}", "${data.test}"),
        ("data.valid=['a,b',c]", ["a,b", "c"]),
        ("fasta=genome (1).fa", "genome (1).fa"),
        ("fasta=epoch=3.fa", "epoch=3.fa"),
        ("fasta=one,two.fa", "one,two.fa"),
        ("fasta=it's.fa", "it's.fa"),
        ("fasta=end\\", "end\\"),
        ("fasta='as before'", "as before"),
        ("hydra.run.dir=runs/a (1)", "runs/a (1)"),
        ("data.species.human=~/a (1).fa", "~/a (1).fa"),
        (
            "data.species={human: a (1).fa, ape: [b, c (d).fa], x: null}",
            {"human": "a (1).fa", "ape": ["b", "c (d).fa"], "x": None},
        ),
        ("data.classes={a: 1.10}", {"a": "1.10"}),
        ("data.classes=[5_3,intron]", ["5_3", "intron"]),
        ("data.classes=CDS", ["CDS"]),
        ("data.species.human=[a (1).fa,~/b.fa]", ["a (1).fa", "~/b.fa"]),
        ("data.tracks.dnase=a (1).bw", "a (1).bw"),
        ("train.seed=12", 12),
    ],
)
def test_names_and_paths_reach_hydra_as_typed(typed: str, value: object) -> None:
    (token,) = as_typed([typed], model_is_a_path=True)
    assert OverridesParser.create().parse_override(token).value() == value


def test_names_of_a_sweep_stay_choices_as_typed() -> None:
    tokens = as_typed(["-m", "region=1_2,010", "data.valid=[1_2],[3]"], model_is_a_path=True)
    assert tokens == ["-m", "region='1_2','010'", "data.valid=['1_2'],['3']"]


def test_model_path_is_a_value_despite_the_group() -> None:
    assert as_typed(["model=1_2"], model_is_a_path=True) == ["model={_path_: '1_2'}"]
    assert as_typed(["model=a,b", "-m"], model_is_a_path=True) == ["model={_path_: 'a'},{_path_: 'b'}", "-m"]
    typed = as_typed(["model=a"], model_is_a_path=True)
    assert as_typed(typed, model_is_a_path=True) == typed
    for path in ("runs/a (1)", "null", "1.10"):
        expected = None if path == "null" else path
        assert composed("finetune", [f"model={path}"]).model == expected
    assert as_typed(["model=tiny"], model_is_a_path=False) == ["model=tiny"]


@pytest.mark.parametrize("token", ["data.fasta=", "data.fasta=''", 'model=""', "+out=", "hydra.run.dir= "])
def test_an_empty_override_is_refused_by_its_key(token: str) -> None:
    key = token.partition("=")[0].lstrip("+")
    with pytest.raises(UserError, match=f"^{key}: is empty; give a "):
        as_typed([token], model_is_a_path=True)


def test_empty_text_is_refused_except_a_loggers() -> None:
    fine = {"logger": {"name": ""}, "plugins": [], "b": None, "c": "???", "d": "${c}"}
    _check_no_empty(OmegaConf.create(fine))
    with pytest.raises(UserError, match=r"^data\.valid\[1\]: is empty"):
        _check_no_empty(OmegaConf.create({**fine, "data": {"valid": ["a", " "]}}))


@pytest.mark.parametrize(
    ("key", "text"),
    [("valid", "[1_2]"), ("valid", "010"), ("label_names", "[yes]"), ("classes", "{0: a.fa}")],
)
def test_names_that_yaml_has_rewritten_are_refused(key: str, text: str) -> None:
    values = OmegaConf.create(f"{key}: {text}")
    with pytest.raises(UserError, match=rf"^data\.{key}: names are text.*in quotes"):
        _check_names(values, key, f"data.{key}")


@pytest.mark.parametrize("text", ["{label: 1.10}", "{label: label, split: yes}", "{id: 010}"])
def test_column_names_yaml_has_rewritten_are_refused(text: str) -> None:
    values = OmegaConf.create(f"columns: {text}")
    with pytest.raises(
        UserError, match=r"^data\.columns\.(label|split|id): names are text, and YAML has made"
    ):
        _check_names(values, "columns", "data.columns")


def test_single_name_is_a_list_of_one() -> None:
    values = OmegaConf.create("valid: Chr1")
    _check_names(values, "valid", "data.valid")
    assert values.valid == ["Chr1"]


def test_keys_of_a_map_are_read_as_written() -> None:
    assert map_keys("{0: a.fa, 1_2: [b.fa, c.fa], x: 3, _null_: 4}") == ["0", "1_2", "x", "null"]


def test_what_hydra_cannot_read_is_shown_quoted() -> None:
    with pytest.raises(HydraException) as error:
        composed("pretrain", ["logger=wandb", "logger.wandb.project=runs (1)/a"])
    assert one_line(error.value) == (
        "logger.wandb.project: Hydra's grammar does not take 'runs (1)/a' as text; write "
        "\"logger.wandb.project='runs (1)/a'\""
    )
    composed("pretrain", ["logger=wandb", "logger.wandb.project='runs (1)/a'"])


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+data.classes={0: a, 1: b, '0': c}", "0"),
        ("data.tracks={a: x.bw, a: y.bw}", "a"),
        ("+x={y: {b: 1, c: [1, {b: 1, b: 2}]}}", "b"),
    ],
)
def test_a_key_twice_in_a_typed_map_is_named(typed: str, key: str) -> None:
    name = typed.lstrip("+").partition("=")[0]
    with pytest.raises(UserError, match=rf"^{name}: {key} is there twice \(got {{{key}: .*}}\); keep one$"):
        as_typed([typed], model_is_a_path=True)


def test_one_key_in_several_typed_maps_is_taken() -> None:
    typed = "+x=[{b: 1}, {b: '{b: 1, b: 2}', c: {b: 3}}]"
    assert as_typed([typed], model_is_a_path=True) == [typed]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            "task={lora_alpha: 8, class_weights: {010: 2}}",
            ["task.lora_alpha=8", "task.class_weights={010: 2}"],
        ),
        ("++data={columns: {label: 1_2}}", ["++data.columns.label='1_2'"]),
        ("+regions={name: 010, flank: 5}", ["++regions.name='010'", "++regions.flank=5"]),
        ("data={classes: {0: a (1).fa, 00: b.fa}}", ["data.classes={0: 'a (1).fa', 00: 'b.fa'}"]),
        ("data={valid: [1_0, chr2], 'edge': pad}", ["data.valid=['1_0','chr2']", "data.edge=pad"]),
        ("model={d_model: 8}", ["model.d_model=8"]),
        ("++data={_target_: my.Data, sets: {}}", ["++data={_target_: my.Data, sets: {}}"]),
    ],
)
def test_map_of_settings_is_its_keys_one_by_one(typed: str, expected: list[str]) -> None:
    assert as_typed([typed], model_is_a_path=False) == expected


def test_empty_value_within_map_of_settings_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data\.fasta: is empty"):
        as_typed(["data={fasta: ''}"], model_is_a_path=False)


@pytest.mark.parametrize("key", ["data.targets={{{}}}", "data={{targets: {{{}}}}}"])
def test_columns_of_targets_keep_their_names(key: str) -> None:
    """`1_0` was the number 10, which is not a column, and not a setting either."""
    assert composed("finetune", [key.format("1_0: regression, 010: a")]).data.targets == {
        "1_0": "regression",
        "010": "a",
    }


def test_finetuning_plan_names_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["mode=plan", "model=scratch", "data.table=none.csv", "data.max_length=48"]
    print_finetuning_plan(composed("finetune", settings))
    assert "data.table=none.csv is not there: planned without it" in capsys.readouterr().out
