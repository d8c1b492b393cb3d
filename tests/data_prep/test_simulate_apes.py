import json
import tomllib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_prep.evolve import Rates, cpg_sites, evolve, in_cpg
from data_prep.simulate_apes import main, simulate, with_repeats
from data_prep.tree import GREAT_APES, load_tree
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.fasta import Genome
from dnamamba.errors import UserError

DNA = get_alphabet("dna")
TREE = load_tree()
NO_INDELS = replace(TREE.indels, per_substitution=0.0)
NO_DUPLICATIONS = replace(TREE.duplications, per_megabase=0.0)
SUBSTITUTIONS_ONLY = replace(TREE, repeats=(), indels=NO_INDELS, duplications=NO_DUPLICATIONS)
FAMILIES = {family.name: np.zeros(family.length, dtype=np.uint8) for family in TREE.repeats}


def random_ids(size, seed=0):
    return np.random.default_rng(seed).integers(4, size=size, dtype=np.uint8)


def write_fasta(path, records):
    path.write_text("".join(f">{name} of a test\n{DNA.decode(ids)}\n" for name, ids in records.items()))
    return path


def read(path):
    genome = Genome(path, DNA)
    return {name.partition("|")[2]: genome.fetch(name) for name in genome.names}


@pytest.fixture(scope="module")
def colinear(tmp_path_factory):
    """2 Mb of each ape with nothing but substitutions: site i of one is site i of another."""
    folder = tmp_path_factory.mktemp("colinear")
    fasta = write_fasta(folder / "root.fa", {"a": random_ids(1_500_000), "b": random_ids(500_000, seed=1)})
    paths = simulate(folder / "out", fasta=fasta, tree=SUBSTITUTIONS_ONLY, seed=5)
    return {name: np.concatenate(list(read(path).values())) for name, path in paths.items()}


def expected_divergence(ids, million_years):
    """Share of sites that differ after so long, sites hit more than once taken care of."""
    rates = Rates.scaled(TREE.substitutions, cpg_sites(ids) / ids.size)
    cpg = in_cpg(ids, np.arange(ids.size)).astype(int)
    total = 0.0
    for kind in (0, 1):
        a, b = rates.transition[kind], rates.transversion[kind] / 2
        # Kimura 1980: a transition with rate a, each of two transversions with rate b.
        same = 0.25 * (1 + np.exp(-4 * b * million_years) + 2 * np.exp(-2 * (a + b) * million_years))
        total += (1 - same) * np.mean(cpg == kind)
    return total


def test_every_pair_diverges_as_the_tree_says(colinear):
    # Two apes differ as one of them would from an ancestor that is as far away as the two together.
    root = np.concatenate([random_ids(1_500_000), random_ids(500_000, seed=1)])
    names = sorted(colinear)
    for one in names:
        for other in names[: names.index(one)]:
            found = np.mean(colinear[one] != colinear[other])
            expected = expected_divergence(root, TREE.million_years_between(one, other))
            error = np.sqrt(expected / root.size)
            # CpGs decay along the tree, so that later branches change a little less: 3 % at most.
            assert found < expected + 4 * error
            assert found > 0.97 * expected - 4 * error


def test_the_tree_gives_the_published_divergences():
    published = tomllib.loads(GREAT_APES.read_text())["published"]
    for row in published:
        percent = 100 * TREE.substitutions.per_site * TREE.million_years_between(*row["pair"])
        assert abs(percent - row["percent"]) <= row["error"], row["pair"]
    assert len(published) == 6


def test_kinds_of_substitution_come_at_their_rates():
    ids = random_ids(4_000_000)
    rates = Rates.scaled(TREE.substitutions, cpg_sites(ids) / ids.size)
    assert rates.transition[1] / rates.transition[0] == pytest.approx(1.12e-7 / 6.18e-9)
    child, counts = evolve(ids, 1.0, SUBSTITUTIONS_ONLY, rates, {}, np.random.default_rng(1))
    cpg = in_cpg(ids, np.arange(ids.size))
    away = (child - ids) % 4
    for kind, chosen in ((0, ~cpg), (1, cpg)):
        sites = np.count_nonzero(chosen)
        for found, rate in (
            (np.count_nonzero((away == 2) & chosen), rates.transition[kind]),
            (np.count_nonzero((away % 2 == 1) & chosen), rates.transversion[kind]),
        ):
            assert abs(found - sites * rate) < 4 * np.sqrt(sites * rate)
    factor = (np.mean(away[cpg] == 2) / np.mean(away[~cpg] == 2)) / (1.12e-7 / 6.18e-9)
    assert factor == pytest.approx(1, abs=0.05)
    assert np.mean(away != 0) == pytest.approx(TREE.substitutions.per_site, rel=0.05)
    assert counts["transitions"] + counts["transversions"] == np.count_nonzero(away)
    assert counts["CpG transitions"] == np.count_nonzero((away == 2) & cpg)


def gaps(root, child):
    """Lengths of what a child has lost of a random root, by walking along both."""
    found, i, j = [], 0, 0
    while j < child.size - 100:
        block = min(child.size - j, root.size - i, 4000)
        differs = np.flatnonzero(root[i : i + block] != child[j : j + block])
        if not differs.size:
            i, j = i + block, j + block
            continue
        i, j = i + int(differs[0]), j + int(differs[0])
        # Of all lengths, the one after which the two agree longest: the next deletion may be near.
        agree = np.lib.stride_tricks.sliding_window_view(root[i + 1 : i + 90], 39) == child[j : j + 39]
        gap = 1 + int(np.cumprod(agree, axis=1).sum(axis=1).argmax())
        found.append(gap)
        i += gap
    return np.array(found)


def test_deletions_have_number_and_length_of_rates():
    tree = replace(
        TREE, repeats=(), duplications=NO_DUPLICATIONS, indels=replace(TREE.indels, deletions=1.0, longest=50)
    )
    ids = random_ids(2_500_000)
    none = Rates(np.zeros(2), np.zeros(2))
    child, counts = evolve(ids, 1.8, tree, none, {}, np.random.default_rng(2))
    found = gaps(ids, child)
    expected = ids.size * 1.8 * TREE.substitutions.per_site * TREE.indels.per_substitution
    assert abs(found.size - expected) < 4 * np.sqrt(expected)
    assert abs(found.size - counts["deletions"]) <= 3  # the last bases are not walked
    lengths = np.arange(1, 51)
    odds = lengths**-TREE.indels.exponent
    odds /= odds.sum()
    for length in (1, 2, 3):
        share = odds[length - 1]
        assert abs(np.mean(found == length) - share) < 4 * np.sqrt(share / found.size)
    assert ids.size - child.size == counts["bases of deletions"]


def test_insertions_repeats_and_duplications_come_at_their_rates():
    tree = with_repeats(TREE, 20)
    tree = replace(tree, duplications=replace(tree.duplications, per_megabase=5.0))
    ids = random_ids(1_000_000)
    none = Rates(np.zeros(2), np.zeros(2))
    families = {"short": random_ids(300, seed=8), "long": random_ids(6000, seed=9)}
    child, counts = evolve(ids, 4.0, tree, none, families, np.random.default_rng(3))
    indels = 4 * TREE.substitutions.per_site * TREE.indels.per_substitution * 1e6
    for kind, expected in (
        ("insertions", indels * 0.257),
        ("deletions", indels * 0.743),
        ("repeats", 4 * 20 * (0.63 + 0.255)),
        ("duplications", 20.0),
    ):
        assert abs(counts[kind] - expected) < 4 * np.sqrt(expected) + 0.02 * expected, kind
    grown = sum(counts[f"bases of {kind}"] for kind in ("insertions", "repeats", "duplications"))
    assert child.size == ids.size + grown - counts["bases of deletions"]
    # Whole copies of the short family are there, on both strands.
    text = DNA.decode(child)
    middle = families["short"][140:160]
    forward = text.count(DNA.decode(middle))
    backward = text.count(DNA.decode(DNA.reverse_complement(middle)))
    copies = 4 * 20 * 0.63
    assert abs(forward + backward - copies) < 4 * np.sqrt(copies)
    assert min(forward, backward) >= 3


def test_n_stays_where_it_is():
    ids = random_ids(50_000)
    ids[10_000:20_000] = DNA.n_id
    rates = Rates.scaled(TREE.substitutions, 0.1)
    child, _ = evolve(ids, 10.0, with_repeats(TREE, 100), rates, FAMILIES, np.random.default_rng(0))
    runs = np.flatnonzero(np.diff((child == DNA.n_id).astype(int)))
    assert runs.size == 2
    assert runs[1] - runs[0] == pytest.approx(10_000, abs=100)


def test_same_seed_gives_same_bytes_another_does_not(tmp_path):
    fasta = write_fasta(
        tmp_path / "root.fa", {"chrA": random_ids(30_000), "chrB": random_ids(20_000, seed=1)}
    )
    for folder, seed in (("one", 3), ("two", 3), ("three", 4)):
        simulate(tmp_path / folder, fasta=fasta, seed=seed)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 6
    for name in names:
        bytes_of = [(tmp_path / folder / name).read_bytes() for folder in ("one", "two", "three")]
        assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_everything_is_marked(tmp_path):
    fasta = write_fasta(tmp_path / "root.fa", {"chrA": random_ids(5_000), "chrB": random_ids(5_000, seed=1)})
    paths = simulate(tmp_path / "out", fasta=fasta)
    assert set(paths) == {"human", "chimpanzee", "bonobo", "gorilla", "orangutan"}
    for path in (tmp_path / "out").iterdir():
        assert "SIMULATED" in path.name
    for species, path in paths.items():
        genome = Genome(path, DNA)
        assert genome.names == (f"{species}_SIMULATED|chrA", f"{species}_SIMULATED|chrB")
        assert path.read_text().count(" SIMULATED from root.fa, seed 0\n") == 2
    assert json.loads((tmp_path / "out" / "SIMULATED.json").read_text())["what"].startswith("SIMULATED")


def kmers(ids, k=24):
    text = DNA.decode(ids)
    return Counter(text[i : i + k] for i in range(len(text) - k))


def test_any_size_and_no_locus_twice(tmp_path, capsys):
    fasta = write_fasta(tmp_path / "root.fa", {"chrA": random_ids(60_000)})
    arguments = [str(tmp_path / "out"), "--fasta", str(fasta), "--size", "1.5e5", "--chromosomes", "3"]
    assert main([*arguments, "--seed", "9", "--repeats", "0"]) == 0
    assert "human_SIMULATED.fa" in capsys.readouterr().out
    human = read(tmp_path / "out" / "human_SIMULATED.fa")
    assert list(human) == ["chr1", "chr2", "chr3"]
    for ids in human.values():
        assert ids.size == pytest.approx(50_000, rel=0.02)
    # Records 1 and 2 hold the first and second reading of the same bases: 0.29 substitutions a site apart.
    shared = sum((kmers(human["chr1"]) & kmers(human["chr2"])).values())
    assert shared < 0.03 * 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "--seed: must lie between 0 and 2^63 - 1 (got -1)"),
        (
            ["--size", "5000", "--chromosomes", "10"],
            "must have at least 1,000 bases for each of the chromosomes",
        ),
        (["--chromosomes", "0"], "must have at least 1,000 bases for each of the chromosomes"),
        (["--repeats", "-2"], "--repeats: must be a number of at least 0 (got -2.0)"),
        (["--fasta", "nowhere.fa"], "nowhere.fa: no such file"),
        (["--tree", "nowhere.toml"], "nowhere.toml: No such file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    assert main([str(tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_fasta_of_n_or_of_scraps_leaves_nothing(tmp_path):
    empty = np.full(5_000, DNA.n_id, dtype=np.uint8)
    with pytest.raises(UserError, match=r"n\.fa: it has no A, C, G or T to evolve"):
        simulate(tmp_path / "out", fasta=write_fasta(tmp_path / "n.fa", {"a": empty}))
    with pytest.raises(UserError, match=r"short\.fa: no record has 1,000 bases"):
        simulate(tmp_path / "out", fasta=write_fasta(tmp_path / "short.fa", {"a": random_ids(999)}))
    with pytest.raises(UserError, match=r"short\.fa: no record has 1,000 bases"):
        simulate(tmp_path / "new" / "out", fasta=tmp_path / "short.fa")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('parent = "pan"', 'parent = "ape"'), "the node chimpanzee comes before its parent 'ape'"),
        (("million_years = 8.4", "million_years = 20"), "the node african_apes is older than its parent"),
        (('parent = ""', 'parent = "x"'), "great_apes, is the root and has no parent"),
        (("exponent = 1.65", "exponents = 1.65"), "exponents"),
        (("[indels]", "[gaps]"), "no 'indels'"),
        (('name = "gorilla"', 'name = "../x"'), "'../x' is not a name for a node"),
        (("[[nodes]]", "[[nodes"), "line"),
    ],
)
def test_a_bad_tree_names_the_file(tmp_path, change, message):
    path = tmp_path / "tree.toml"
    path.write_text(GREAT_APES.read_text().replace(*change))
    with pytest.raises(UserError, match=r"tree\.toml") as error:
        load_tree(path)
    assert message in str(error.value)
