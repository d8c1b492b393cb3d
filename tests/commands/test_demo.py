"""`dnamamba demo`: five stops, one page that needs no other file."""

import re
from pathlib import Path

import numpy as np
import pytest

from dnamamba import GenomeConfig, MambaConfig, UserError
from dnamamba.commands.demo import DemoConfig, demo
from dnamamba.commands.demo_stops import STOPS, Sizes, Tour, map_of_embeddings, track, variants
from dnamamba.commands.entry import COMMANDS
from dnamamba.reports.html import document, text

TINY = Sizes(
    windows=4,
    mutated=6,
    locus=2_000,
    generated=100,
    data=GenomeConfig(
        train=["chrI"], valid=["chrVI"], test=[], valid_windows=2, max_length=64, markov_orders=[0]
    ),
    model=MambaConfig(d_model=8, n_layer=1),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tour of a second."""
    out = tmp_path_factory.mktemp("demo") / "tour.html"
    demo(DemoConfig(str(out), steps=2), TINY)
    return out.read_text("utf-8")


def test_page_has_a_picture_and_a_command_of_every_stop(page: str) -> None:
    parts = page.split("<h2>")[1:]
    assert len(parts) == len(STOPS) + 1
    for part in parts[:-1]:
        assert re.search(r'<img alt="[^"]+" src="data:image/png;base64,', part)
        (command,) = re.findall(r"<pre><code>dnamamba (\w+) ", part)
        assert command in COMMANDS
        assert '<p class="verdict">' in part


def test_page_needs_no_other_file_or_network(page: str) -> None:
    assert not re.findall(r"<(?:script|link|iframe)", page)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_table_of_pretraining_is_sorted_by_bits(page: str) -> None:
    (cells,) = re.findall(r"bits per base</th></tr>(.*?)</table>", page, re.DOTALL)
    bits = [float(value) for value in re.findall(r"<td>([0-9.]+)</td>", cells)]
    assert len(bits) == 2
    assert bits == sorted(bits, reverse=True)
    assert abs(bits[1] - 1.96) < 0.02  # of single letters, on yeast


def test_generated_sequence_stands_in_lines_of_its_own(page: str) -> None:
    (found,) = re.findall(r"<pre>&gt;generated, the first 100 bases\n([ACGT\n]+)</pre>", page)
    assert [len(line) for line in found.split("\n")] == [60, 40]


def test_same_seed_gives_same_windows_and_other_seed_others() -> None:
    first, again, other = (map_of_embeddings(Tour(1, seed, TINY)).said for seed in (0, 0, 1))
    assert first == again != other


def test_variant_table_has_extremes_of_all_changes() -> None:
    found = variants(Tour(1, 0, TINY))
    assert found.table is not None
    scores = [float(row[2]) for row in found.table[1]]
    assert scores == sorted(scores)
    assert scores[0] < 0 < scores[-1]
    assert [row[1][0] != row[1][-1] for row in found.table[1]] == [True] * 6


def test_track_says_the_means_of_what_it_draws() -> None:
    found = track(Tour(1, 0, TINY))
    values = found.figures["Log-likelihood and entropy along the locus"].axes[0].lines[0].get_ydata()
    low, high = sorted(float(number) for number in re.findall(r"-[0-9.]+", found.said))
    assert low < np.mean(np.asarray(values)) < high


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, r"^steps: must be at least 1 \(got 0\)$"),
        ({"seed": -1}, r"^seed: must lie between 0 and 4294967295 \(got -1\)$"),
    ],
)
def test_setting_out_of_range_is_named(settings: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        DemoConfig(**settings)  # type: ignore[arg-type]


def test_page_that_is_there_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "tour.html"
    out.write_text("mine")
    with pytest.raises(UserError, match="overwrite=true"):
        demo(DemoConfig(str(out)), TINY)
    assert out.read_text() == "mine"


def test_texts_of_a_page_are_no_tags() -> None:
    found = document("<b>", [text("a < b")])
    assert "<title>&lt;b&gt;</title>" in found
    assert "a &lt; b" in found
