import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import load_sources
from dnamamba.data.homology import HUMAN, homology_of, linkage_groups, read_homology
from dnamamba.errors import UserError

APES = ("chimpanzee", "bonobo", "gorilla", "orangutan")
OWN_NUMBERS = [f"chr{number}" for number in range(1, 24)] + ["chrX", "chrY"]
UCSC = [f"chr{number}" for number in ("1", "2A", "2B", *range(3, 23), "X", "Y")]


def test_cytogenetic_numbers_are_those_of_downloaded_sources():
    sources = load_sources()
    for species in APES:
        chromosomes = sources[species].chromosomes
        found = homology_of(species, OWN_NUMBERS)
        for name in OWN_NUMBERS:
            assert {f"chr{human}" for human in found[name]} == set(chromosomes.human_of(name)), (
                species,
                name,
            )


def test_same_name_is_another_chromosome_in_another_convention():
    assert homology_of("human", ["chr1", "chr3", "chr22"])["chr3"] == {"3"}
    assert homology_of("chimpanzee", OWN_NUMBERS)["chr3"] == {"4"}
    assert homology_of("chimpanzee", UCSC)["chr3"] == {"3"}
    assert homology_of("bonobo", OWN_NUMBERS)["chr11"] == {"9"}
    assert homology_of("orangutan", OWN_NUMBERS)["chr11"] == {"2"}


def test_both_halves_of_human_2_are_human_2():
    for found in (
        homology_of("orangutan", UCSC),
        homology_of("orangutan", [n.removeprefix("chr") for n in UCSC]),
    ):
        assert [name for name, human in found.items() if human == {"2"}] == [
            name for name in found if name.upper().endswith(("2A", "2B"))
        ]
    for species in APES:
        assert sum(human == {"2"} for human in homology_of(species, OWN_NUMBERS).values()) == 2


def test_names_of_the_t2t_project_speak_for_themselves():
    records = ["chr12_hap1_hsa2a", "chr2_pat_hsa3", "chr4_pat_hsa17x5", "chrX_mat_hsaX", "chrM", "random_17"]
    assert homology_of("anything", records) == {
        "chr12_hap1_hsa2a": {"2"},
        "chr2_pat_hsa3": {"3"},
        "chr4_pat_hsa17x5": {"17", "5"},
        "chrX_mat_hsaX": {"X"},
    }


def test_unplaced_sequences_and_mitochondria_are_left_out():
    records = [
        *UCSC,
        "chr1_KI270706v1_random",
        "chrUn_NW_019932317v1",
        "chrM",
        "NC_001643.1",
        "chr24",
        "chr0",
    ]
    assert set(homology_of("chimpanzee", records)) == set(UCSC)


def test_gorilla_ties_5_to_17_in_every_convention():
    for records in (OWN_NUMBERS, UCSC, ["chr4_pat_hsa17x5", "chr19_pat_hsa5x17"]):
        groups = linkage_groups([homology_of("human", ["chr1"]), homology_of("gorilla", records)])
        assert groups["5"] == groups["17"] == "5+17"
        assert groups["4"] == "4"
    for species in set(APES) - {"gorilla"}:
        groups = linkage_groups([homology_of(species, OWN_NUMBERS)])
        assert groups == {number: number for number in HUMAN}


@given(st.lists(st.frozensets(st.sampled_from(HUMAN), min_size=1, max_size=3), max_size=12))
def test_linkage_groups_are_finest_that_hold_every_chromosome(chromosomes):
    groups = linkage_groups([{str(i): human for i, human in enumerate(chromosomes)}])
    # The slow way: merge until nothing changes.
    sets = [{number} for number in HUMAN]
    for human in chromosomes * 2:
        touched = [members for members in sets if members & human]
        sets = [members for members in sets if not members & human] + [set().union(*touched)]
    for members in sets:
        assert {groups[number] for number in members} == {"+".join(sorted(members, key=HUMAN.index))}


@pytest.mark.parametrize(
    ("species", "records", "message"),
    [
        ("gorilla", ["chr1", "chr2", "chr3"], "data.species.gorilla: its chromosomes are named by numbers"),
        ("mouse", OWN_NUMBERS, "give a table, data.homology.mouse"),
        ("bonobo", ["NC_073249.2", "NC_073250.2"], "none of its 2 records is named as a chromosome"),
    ],
)
def test_a_name_alone_is_not_believed(species, records, message):
    with pytest.raises(UserError) as error:
        homology_of(species, records)
    assert message in str(error.value)


def test_a_table(tmp_path):
    path = tmp_path / "gorilla.chromosomes.tsv"
    path.write_text("chromosome\trecord\tbases\thuman\nchr4\tNC_1\t10\tchr17,chr5\n\nchr5\tNC_2\t10\t6\n")
    assert read_homology(path) == {"chr4": {"17", "5"}, "chr5": {"6"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must name the columns"),
        ("chromosome human\n", "its first line must name the columns"),
        ("chromosome\thuman\n", "it has no row"),
        ("chromosome\thuman\nchr1\n", "line 2: 1 columns, but the first line has 2"),
        ("chromosome\thuman\nchr1\tchr23\n", "line 2: 'chr23' is not a human chromosome"),
        ("chromosome\thuman\nchr1\t\n", "line 2: '' is not a human chromosome"),
        ("chromosome\thuman\nchr1\t1\nchr1\t2\n", "line 3: chr1 is there twice"),
    ],
)
def test_a_bad_table_names_its_line(tmp_path, text, message):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"t\.tsv") as error:
        read_homology(path)
    assert message in str(error.value)


@given(st.text(max_size=200))
def test_any_text_is_a_table_or_an_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.tsv"
    path.write_text("chromosome\thuman\n" + text, encoding="utf-8", newline="")
    try:
        table = read_homology(path)
    except UserError:
        return
    assert table
    assert all(human and human <= set(HUMAN) for human in table.values())
