import pytest

from data_prep.sources import RemoteFile, check_url, load_sources
from dnamamba.errors import UserError

APES = ("human", "chimpanzee", "bonobo", "gorilla", "orangutan")
MINIMAL = """
[g]
species = "S"
assembly = "A"
accession = "X"
about = ""
terms = ""
citation = ""
files = [{role = "fasta", url = "https://example.org/g.fa.gz"}]
chromosomes = {header = '^chr(\\d+)$', required = ["1-3", "X"], human = {2 = [3, 5]}}
"""


@pytest.fixture(scope="module")
def sources():
    return load_sources()


def test_hg38_and_the_five_great_apes_are_there(sources):
    assert set(sources) == {"hg38", "hg38_ucsc", *APES}
    assert [file.role for file in sources["hg38"].files] == ["fasta", "intervals"]
    for source in sources.values():
        assert source.terms
        assert source.citation.partition("doi:10.")[2]
        # An NCBI folder is named after the accession.
        assert all("ncbi" not in file.url or source.accession in file.name for file in source.files)


@pytest.mark.parametrize(
    ("name", "header", "expected"),
    [
        ("hg38", "chr1", "chr1"),
        ("hg38", "chrX", "chrX"),
        ("hg38", "chrM", None),
        ("hg38", "chr1_KI270706v1_random", None),
        ("hg38_ucsc", "chr22 AC:CM000684.2", "chr22"),
        ("human", "CP068277.2 Homo sapiens isolate CHM13 chromosome 1", "chr1"),
        ("human", "CP086569.2 Homo sapiens isolate NA24385 chromosome Y", "chrY"),
        ("human", "CP068254.1 Homo sapiens isolate CHM13 mitochondrion, complete genome", None),
        ("gorilla", "NC_1.2 Gorilla gorilla chromosome 19, NHGRI_mGorGor1-v2.0_pri, whole genome", "chr19"),
        ("orangutan", "NW_1.1 Pongo abelii chromosome 18 unlocalized genomic scaffold, NHGRI", None),
        ("bonobo", "NW_1.1 Pan paniscus unplaced genomic scaffold, NHGRI", None),
    ],
)
def test_records_are_named_by_their_headers(sources, name, header, expected):
    assert sources[name].chromosomes.name_of(header) == expected


@pytest.mark.parametrize("name", APES)
def test_ape_chromosomes_cover_human_ones_once(sources, name):
    chromosomes = sources[name].chromosomes
    human = [found for own in chromosomes.required for found in chromosomes.human_of(own)]
    expected = [f"chr{number}" for number in (*range(1, 23), "X", "Y")]
    if name != "human":
        # Two chromosomes of the other apes are one in human, and gorilla's 4 and 19 have parts of 5 and 17.
        expected += ["chr2"] + (["chr5", "chr17"] if name == "gorilla" else [])
    assert sorted(human) == sorted(expected)
    assert set(chromosomes.human) <= set(chromosomes.required)


def test_a_file_of_one_s_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    chromosomes = load_sources(path)["g"].chromosomes
    assert chromosomes.required == ("chr1", "chr2", "chr3", "chrX")
    assert [chromosomes.human_of(name) for name in ("chr1", "chr2")] == [("chr1",), ("chr3", "chr5")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[g]", "[g", "mine.toml: "),
        ("[g]", "['../g']", "'../g' is not a name"),
        ('species = "S"', "", "g: .*species"),
        ('"fasta"', '"other"', "g: .*the role must be fasta or intervals .got 'other'"),
        ('"fasta"', '"intervals"', "g: a genome has one file of the role fasta"),
        ('"}]', '", size_ = 3}]', "g: .*size_"),
        ('"}]', '", md5 = "xyz"}]', "g: .*'xyz' is not a checksum of md5"),
        ('"}]', '", sha256 = "00"}]', "g: .*'00' is not a checksum of sha256"),
        ("https:", "http:", "g: http://example.org/g.fa.gz: only https is fetched"),
        ("(\\d+)", "\\d+", "g: chromosomes.header: must have one group"),
        ("(\\d+)", "(", "g: missing"),
    ],
)
def test_a_mistake_names_the_file_and_the_genome(tmp_path, old, new, message):
    assert old in MINIMAL
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_sources(path)


@pytest.mark.parametrize("end", ["", "..", ".", "%2e%2e", "a%2fb", ".hidden", "a\\b", "a b", "x/.."])
def test_file_name_is_never_a_path(end):
    with pytest.raises(UserError, match="is not a plain file name"):
        RemoteFile("fasta", f"https://example.org/x/{end}")


def test_urls():
    for url in ("https://example.org/a", "http://127.0.0.1:80/a", "http://localhost/a", "http://[::1]:8/a"):
        check_url(url)
    for url in (
        "http://example.org/a",
        "ftp://127.0.0.1/a",
        "file:///a",
        "a",
        "http://127.0.0.1.example.org/",
    ):
        with pytest.raises(UserError, match="only https is fetched"):
            check_url(url)
