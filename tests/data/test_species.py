"""Species and their loci: what is held out, and where windows may lie."""

import numpy as np
import pytest

from dnamamba.data.species_splits import hashed_split, split_by_file
from dnamamba.data.species_windows import SpeciesWindows
from dnamamba.errors import UserError
from tests.data.species_files import DNA, INDEX, by_chromosome, by_record, genomes_of, letters, loci_at


def records(locus):
    return [[interval.name for interval in of] for of in locus.stretches]


# --- what is held out ----------------------------------------------------------------------------------


def apes(write, **more):
    """Human, chimpanzee and gorilla by cytogenetic numbers, a hundred bases a chromosome."""
    own = dict.fromkeys([f"chr{number}" for number in [*range(1, 24), "X"]], 100)
    human = dict.fromkeys([f"chr{number}" for number in [*range(1, 23), "X", "Y"]], 100)
    return genomes_of(write(human=human, chimpanzee=own, gorilla={**own, "chrUn_1": 70}, **more))


def test_split_is_by_homology_and_not_by_name(write):
    splits = by_chromosome(apes(write), valid=["3"], test=["9", "11"])
    found = {locus.name: records(locus) for locus in splits.loci["test"]}
    assert found == {
        "9": [["human:chr9"], ["chimpanzee:chr11"], ["gorilla:chr13"]],
        "11": [["human:chr11"], ["chimpanzee:chr9"], ["gorilla:chr9"]],
    }
    assert [records(locus) for locus in splits.loci["valid"]] == [
        [["human:chr3"], ["chimpanzee:chr2"], ["gorilla:chr2"]]
    ]
    two = next(locus for locus in splits.loci["train"] if locus.name == "2")
    assert records(two) == [
        ["human:chr2"],
        ["chimpanzee:chr12", "chimpanzee:chr13"],
        ["gorilla:chr11", "gorilla:chr12"],
    ]


def test_gorillas_exchanged_chromosomes_are_held_out_together(write):
    splits = by_chromosome(apes(write), valid=["1"], test=["5"])
    (locus,) = splits.loci["test"]
    assert locus.name == "5+17"
    assert locus.weight == 2
    assert records(locus) == [
        ["human:chr5", "human:chr17"],
        ["chimpanzee:chr4", "chimpanzee:chr19"],
        ["gorilla:chr4", "gorilla:chr19"],
    ]
    assert any("human 17 is held out for test with 5" in note for note in splits.notes)
    with pytest.raises(UserError, match=r"both hold out human chromosome 5\+17"):
        by_chromosome(apes(write), valid=["17"], test=["5"])


def test_hyenadna_s_split_is_whole_and_disjoint(write):
    splits = by_chromosome(apes(write), valid=["1", "3", "12", "13"], test=["5", "7", "9", "10", "11"])
    numbers = {
        split: {number for locus in loci for number in locus.name.split("+")}
        for split, loci in splits.loci.items()
    }
    assert numbers["valid"] == {"1", "3", "12", "13"}
    assert numbers["test"] == {"5", "7", "9", "10", "11", "17"}
    assert numbers["train"] == {"2", "4", "6", "8", *map(str, range(14, 17)), *map(str, range(18, 23)), "X"}
    of_split = {
        split: {name for locus in loci for of in records(locus) for name in of}
        for split, loci in splits.loci.items()
    }
    assert not of_split["train"] & of_split["test"]
    assert not of_split["valid"] & (of_split["train"] | of_split["test"])


def test_chromosomes_some_lack_are_reported_and_never_drawn(write):
    splits = by_chromosome(apes(write))
    used = {name for loci in splits.loci.values() for locus in loci for of in records(locus) for name in of}
    assert "human:chrY" not in used
    assert "left out, because only human has it: human chromosome Y" in splits.notes
    assert "gorilla:chrUn_1" not in used
    assert "gorilla: 1 records of 70 bases are on no chromosome" in splits.notes


def test_table_next_to_file_or_configured_is_believed(write, tmp_path):
    paths = write(human={"chr1": 50, "chr5": 50, "chr6": 50}, bonobo={"one": 50, "two": 50, "three": 50})
    table = tmp_path / "bonobo.chromosomes.tsv"
    table.write_text("chromosome\thuman\none\t5\ntwo\tchr6\nthree\t1\n")
    (locus,) = by_chromosome(genomes_of(paths)).loci["test"]
    assert records(locus) == [["human:chr5"], ["bonobo:one"]]
    other = tmp_path / "other.tsv"
    other.write_text("chromosome\thuman\none\t1\ntwo\t5\nthree\t6\n")
    (locus,) = by_chromosome(genomes_of(paths), tables={"bonobo": other}).loci["test"]
    assert records(locus) == [["human:chr5"], ["bonobo:two"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": ["Y"]}, "data.test: chimpanzee has no chromosome homologous to human Y"),
        ({"valid": ["23"]}, "data.valid: 23 is not a human chromosome, 1 to 22, X or Y"),
    ],
)
def test_a_chromosome_that_cannot_be_held_out(write, arguments, message):
    with pytest.raises(UserError) as error:
        by_chromosome(apes(write), **arguments)
    assert message in str(error.value)


def test_same_id_is_in_same_split_everywhere(write):
    ids = [f"seg{number:04d}" for number in range(60)]
    species = {
        name: {f"{name}|{identity}|x": 40 for identity in ids} for name in ("human", "gorilla", "orangutan")
    }
    all_three = by_record(genomes_of(write(**species)), pattern=r"\|(seg\d+)")
    two = by_record(
        genomes_of(write(human=species["human"], orangutan=species["orangutan"])), pattern=r"\|(seg\d+)"
    )
    split_of = [
        {locus.name: split for split, loci in splits.loci.items() for locus in loci}
        for splits in (all_three, two)
    ]
    assert split_of[0] == split_of[1] == {identity: hashed_split(identity, 0.2, 0.2) for identity in ids}
    for locus in all_three.loci["test"]:
        assert [name.split("|")[1] for of in records(locus) for name in of] == [locus.name] * 3
    assert {"train", "valid", "test"} == set(split_of[0].values())


def test_hash_gives_shares_that_are_asked_for():
    found = [hashed_split(f"id{number}", 0.1, 0.25) for number in range(20_000)]
    for split, share in (("train", 0.65), ("valid", 0.1), ("test", 0.25)):
        assert abs(found.count(split) / 20_000 - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_ids_can_be_named(write):
    paths = write(a={"a|1": 50, "a|2": 50, "a|3": 50, "a|4": 50}, b={"b|1": 50, "b|2": 50, "b|3": 50})
    splits = by_record(genomes_of(paths), valid=["1"], test=["2"])
    assert [[locus.name for locus in splits.loci[split]] for split in ("train", "valid", "test")] == [
        ["3"], ["1"], ["2"],
    ]  # fmt: skip
    assert splits.notes == ("left out, because only a has it: locus 4",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"valid": ["7"]}, "data.valid: no record has the id '7'"),
        ({"valid": ["1"], "test": ["1"]}, "data.valid and data.test both name 1"),
        ({"pattern": "("}, "data.record_id: '(' is not a regular expression"),
        ({"pattern": "x"}, "data.record_id: must have one group, the id (got 'x')"),
        ({"pattern": "(seg)"}, "data.record_id: '(seg)' matches no record of a, such as a|1"),
        ({"pattern": "^(.)"}, "data.species.a: two records have the id a"),
    ],
)
def test_bad_ids(write, arguments, message):
    genomes = genomes_of(write(a={"a|1": 50, "a|2": 50}, b={"b|1": 50, "b|2": 50}))
    with pytest.raises(UserError) as error:
        by_record(genomes, **arguments)
    assert message in str(error.value)


def test_files_can_be_held_out(write, tmp_path):
    paths = write(a={"x": 100, "y": 50}, b={"x": 80}, test_a={"x": 30}, test_b={"z": 30})
    genomes = genomes_of({"a": [*paths["a"], *paths["test_a"]], "b": [*paths["b"], *paths["test_b"]]})
    test = {"a": paths["test_a"], "b": paths["test_b"]}
    splits = split_by_file(genomes, {"test": test}, valid_share=0.1)
    intervals = {split: [list(of) for of in loci[0].stretches] for split, loci in splits.loci.items()}
    assert intervals["train"] == [[("a:x", 0, 90), ("a:y", 0, 45)], [("b:x", 0, 72)]]
    assert intervals["valid"] == [[("a:x", 90, 100), ("a:y", 45, 50)], [("b:x", 72, 80)]]
    assert intervals["test"] == [[(f"a:{tmp_path.name}/test_a.fa:x", 0, 30)], [("b:z", 0, 30)]]
    with pytest.raises(UserError, match=r"data\.test_species: no FASTA file of b"):
        split_by_file(genomes, {"test": {"a": paths["test_a"]}}, valid_share=0.1)
    with pytest.raises(UserError, match=r"data\.split=file needs data\.test_species"):
        split_by_file(genomes, {}, valid_share=0.1)


def test_a_file_is_of_one_species(write):
    paths = write(a={"x": 100})
    with pytest.raises(UserError, match=r"a\.fa is given twice, for a and for b"):
        genomes_of({"a": paths["a"], "b": paths["a"]})


# --- where windows may lie -----------------------------------------------------------------------------


def gapped(write):
    """Two species and three loci; `a` has gaps in the first and the third, `b` is short in the second."""
    three = "NNN".join((letters(200, 1), letters(20, 2), letters(100, 3)))
    a = {"a|1": "ACGT" * 25 + "N" * 10 + "ACGT" * 5, "a|2": 200, "a|3": three}
    return write(a=a, b={"b|1": 150, "b|2": 60, "b|3": 200})


def test_locus_needs_long_enough_interval_in_every_species(write):
    genomes = genomes_of(gapped(write))
    assert [locus.name for locus in loci_at(genomes, 60)] == ["1", "2", "3"]
    assert [locus.name for locus in loci_at(genomes, 61)] == ["1", "3"]
    assert [locus.name for locus in loci_at(genomes, 101)] == ["3"]
    assert loci_at(genomes, 20)[0].stretches[0] == (("a:a|1", 0, 100), ("a:a|1", 110, 130))
    assert loci_at(genomes, 21)[0].stretches[0] == (("a:a|1", 0, 100),)


def test_no_window_has_more_n_than_it_may(write):
    genomes = genomes_of(gapped(write))
    for max_n, most in ((0.0, 0), (0.1, 4), (0.3, 10)):
        loci = loci_at(genomes, 40, max_n)
        windows = SpeciesWindows(genomes, loci, 40, 3, reverse_complement=True, max_n=max_n)
        tokens = windows.tokens(windows.draw(INDEX[:4000])[1])
        assert (tokens == DNA.n_id).sum(axis=1).max() == most


def test_gaps_can_be_closed(write):
    genomes = genomes_of(gapped(write), remove_n=True)
    assert genomes.length("a:a|1") == 120
    assert DNA.decode(genomes.fetch("a:a|1", 98, 106)) == "GTACGTAC"
    assert [locus.name for locus in loci_at(genomes, 120)] == ["1", "3"]


def test_case_and_u_tell_nothing(write):
    upper, lower = letters(80, 5), letters(80, 5).lower().replace("t", "u")
    genomes = genomes_of(write(a={"a|1": upper}, b={"b|1": lower}))
    assert np.array_equal(genomes.fetch("a:a|1"), genomes.fetch("b:b|1"))


def test_nothing_long_enough_names_the_species(write):
    genomes = genomes_of(gapped(write))
    with pytest.raises(
        UserError, match=r"^data\.species\.a: no interval of 300 bases without N in its train"
    ) as e:
        loci_at(genomes, 300)
    assert "the longest has 200" in str(e.value)
    paths = write(c={"c|1": 100, "c|2": 50}, d={"d|1": 50, "d|2": 100})
    with pytest.raises(
        UserError, match=r"no locus of the train split has an interval of 80 bases without N in every"
    ):
        loci_at(genomes_of(paths), 80)
    with pytest.raises(UserError, match=r"the valid split has no locus that all 2 species have"):
        loci_at(genomes, 10, split="valid")


# --- what is drawn -------------------------------------------------------------------------------------
