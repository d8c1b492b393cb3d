"""The stops of the tour: each does one thing with the yeast genome and says what the result is worth."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dnamamba.checkpoint import load
from dnamamba.data.alphabet import get_alphabet
from dnamamba.data.embedded import YEAST_CODING_SEQUENCES, YEAST_FASTA, YEAST_MODEL
from dnamamba.data.fasta import Genome
from dnamamba.data.gene_models import GeneModel, gene_models
from dnamamba.data.intervals import Interval
from dnamamba.datasets.genome import GenomeConfig
from dnamamba.inference.effects import Windows
from dnamamba.inference.embedding import embed
from dnamamba.inference.generation import generate
from dnamamba.inference.saturation import BASES, saturate
from dnamamba.inference.tracks import tracks
from dnamamba.models import LanguageModel, MambaConfig
from dnamamba.reports.figures import learning_curve
from dnamamba.reports.gene_track import gene_track
from dnamamba.reports.maps import embedding_map
from dnamamba.reports.saturation import saturation_figure
from dnamamba.reports.words import word_scatter
from dnamamba.training.config import TrainConfig
from dnamamba.training.pretraining import Pretraining

RECORD = "chrV"  # the model of the package has not seen it


@dataclass(frozen=True)
class Sizes:
    """How much the stops read.

    Attributes:
        windows: of each kind, at most, on the map of embeddings.
        mutated: bases of which every change is scored.
        locus: bases of the track.
        generated: bases to make.
        data: of the pretraining.
        model: of the pretraining.
    """

    windows: int = 150
    mutated: int = 80
    locus: int = 12_000
    generated: int = 6_000
    data: GenomeConfig = field(
        default_factory=lambda: GenomeConfig(valid=["chrVI"], test=[], valid_windows=32)
    )
    model: MambaConfig = field(default_factory=lambda: MambaConfig(d_model=64, n_layer=2))


@dataclass(frozen=True)
class Tour:
    """What all stops share: settings, the genome, the model of the package."""

    steps: int
    seed: int
    sizes: Sizes

    @cached_property
    def genome(self) -> Genome:
        """The yeast genome."""
        return Genome(YEAST_FASTA, get_alphabet("dna"))

    @cached_property
    def model(self) -> LanguageModel:
        """The model that comes with the package."""
        found = load(YEAST_MODEL)
        assert isinstance(found, LanguageModel)
        return found

    @cached_property
    def genes(self) -> list[GeneModel]:
        """The coding sequences of the record."""
        return gene_models(YEAST_CODING_SEQUENCES, Interval(RECORD, 0, self.genome.lengths[RECORD]))


@dataclass(frozen=True)
class Stop:
    """What a stop of the tour shows; texts are plain.

    Attributes:
        title: of the stop.
        before: paragraphs before the pictures.
        figures: by what they show.
        said: the result in a sentence.
        after: paragraphs after it.
        command: that does the same.
        table: header and rows.
        letters: of a sequence, line by line.
    """

    title: str
    before: list[str]
    figures: dict[str, Figure]
    said: str
    after: list[str]
    command: str
    table: tuple[list[str], list[list[str]]] | None = None
    letters: tuple[str, ...] = ()


def pretraining(tour: Tour) -> Stop:
    """Train a small model for some steps and compare it with Markov models."""
    train = TrainConfig(
        max_steps=tour.steps, seed=tour.seed, log_every=1, validate_every=max(1, tour.steps // 6)
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Pretraining(
            Path(folder) / "run", data=tour.sizes.data, model=tour.sizes.model, train=train, quiet=True
        )
        result = run.run()
        assert result is not None  # of the only process
        watched = result.results["markov_bits_per_base"]["valid"]
        bases = result.results["bases"] // result.results["steps"]
        title = f"{tour.steps} steps of {bases:,} bases, scored on windows that it has not read"
        curve = learning_curve(result.history, bases, watched, title)
    rows = {f"Markov model of order {order}": value for order, value in watched.items()}
    rows["this model"] = result.results["bits_per_base"]["valid"]
    return Stop(
        "Pretraining",
        [
            "A language model of DNA learns to predict each base from those before it. Bits per base say "
            "how well: 2 is a blind guess among four letters, less is better. Markov models, which count "
            "words of a few letters, are the simple method to be compared with."
        ],
        {"Learning curve": curve},
        result.results.get("verdict", "no Markov model to compare with"),
        [
            f"This run has read {result.results['bases'] / 1e6:.1f} million bases; the default run of the "
            "command has ten times as many steps, and the other stops use the model that it left."
        ],
        "dnamamba pretrain data.fasta=my_genome.fa.gz",
        (
            ["", "bits per base"],
            [[name, f"{rows[name]:.4f}"] for name in sorted(rows, key=lambda key: -rows[key])],
        ),
    )


def map_of_embeddings(tour: Tour) -> Stop:
    """Embed windows within genes and between them, and draw their principal components."""
    rows = _windows(tour)
    labels = [label for *_, label in rows]
    vectors = embed(tour.model, (tour.genome, rows), strand="both")
    letters = (tour.genome.alphabet.decode(tour.genome.fetch(*row[:3])) for row in rows)
    share = np.array([sum(letter in "CG" for letter in one) / len(one) for one in letters])
    inside = np.array(labels) == "gene"
    return Stop(
        "A map of embeddings",
        [
            f"An embedding is a window of DNA as {vectors.shape[1]} numbers, the mean of the model's "
            f"hidden states. Dots are windows of {_LENGTH} bases of {RECORD}, which the model has not been "
            "trained on; windows that the model finds alike lie close together.",
        ],
        {
            "Windows in genes and between genes": embedding_map(vectors, labels, title="by place"),
            "Windows by their share of G and C": embedding_map(vectors, share, title="by share of G and C"),
        },
        f"{inside.sum()} windows in genes, {(~inside).sum()} between them; their share of G and C is "
        f"{share[inside].mean():.2f} and {share[~inside].mean():.2f}",
        [
            "Much of what such a map shows is often the share of G and C: compare the two pictures before "
            "you read more."
        ],
        "dnamamba embed model=RUN fasta=my_genome.fa bed=my_regions.bed strand=both out=my.h5ad",
    )


_LENGTH = 512


def _windows(tour: Tour) -> list[tuple[str, int, int, str]]:
    """Return the middles of genes and of intervals between genes, so many of each at most."""
    spans = [(gene.start, gene.end) for gene in tour.genes]
    between = np.ones(tour.genome.lengths[RECORD], dtype=bool)
    for start, end in spans:
        between[start:end] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], between, [False]))))
    draw = np.random.default_rng(tour.seed)
    rows = []
    for label, found in (("gene", spans), ("between genes", edges.reshape(-1, 2).tolist())):
        long = [(start + end - _LENGTH) // 2 for start, end in found if end - start >= _LENGTH]
        chosen = np.sort(draw.permutation(len(long))[: tour.sizes.windows])
        rows += [(RECORD, long[i], long[i] + _LENGTH, label) for i in chosen]
    return rows


def variants(tour: Tour) -> Stop:
    """Score every change of the bases around the start of a gene."""
    gene = next(gene for gene in tour.genes if gene.strand == "+" and gene.start > 100_000)
    half = tour.sizes.mutated // 2
    region = Interval(RECORD, gene.start - half, gene.start + half)
    found = saturate(tour.model, tour.genome, region, Windows(256, (0,), "both"))
    order = [divmod(int(place), 4) for place in np.argsort(found.llr, axis=None)]
    changes = [(i, j) for i, j in order if found.letters[i] in BASES and BASES[j] != found.letters[i]]
    rows = [
        [f"{RECORD}:{region.start + i + 1}", f"{found.letters[i]} > {BASES[j]}", f"{found.llr[i, j]:+.2f}"]
        for i, j in (*changes[:3], *changes[-3:])
    ]
    figure = saturation_figure(found.letters, found.llr, RECORD, region.start + 1)
    weaker = [found.llr[i, j] for i, j in changes if found.letters[i] in "AT" and BASES[j] in "CG"]
    stronger = [found.llr[i, j] for i, j in changes if found.letters[i] in "CG" and BASES[j] in "AT"]
    return Stop(
        "Variant scores",
        [
            f"Every change of {region.length} bases around the start of the gene {gene.name}. The "
            "log-likelihood ratio (LLR) says how much less (below 0) or more likely the model finds the "
            "sequence with the change. A tall letter is a base that the model expects.",
        ],
        {"Logo and map of all single-base changes": figure},
        f"mean LLR of changes from A or T to C or G: {np.mean(weaker):+.2f}; the other way: "
        f"{np.mean(stronger):+.2f}",
        [
            "A small model mostly scores the letters themselves: this one has learnt that yeast is rich "
            "in A and T. Such a score is not evidence that a variant is harmful; larger models must show "
            "it on known variants.",
        ],
        "dnamamba score model=RUN vcf=my.vcf fasta=my_genome.fa out=scored.vcf",
        (["place", "change", "LLR"], rows),
    )


def track(tour: Tour) -> Stop:
    """Draw how well each base of a locus is predicted, above the genes."""
    start = 100_000
    region = Interval(RECORD, start, min(start + tour.sizes.locus, tour.genome.lengths[RECORD]))
    (found,) = tracks(tour.model, (tour.genome, [tuple(region)]), strand="both", context=2_000)
    genes = [gene for gene in tour.genes if gene.start < region.end and region.start < gene.end]
    coding = np.zeros(region.length, dtype=bool)
    for gene in genes:
        for first, last in gene.parts:
            coding[max(0, first - start) : max(0, last - start)] = True
    values = {"log-likelihood (bits)": found.log_likelihood, "entropy (bits)": found.entropy}
    within, outside = (float(np.nanmean(found.log_likelihood[chosen])) for chosen in (coding, ~coding))
    return Stop(
        "A track above genes",
        [
            "The log-likelihood of a base is 0 where the model was certain of it and -2 for a blind "
            f"guess. The curves are means of {_SMOOTH} bases; boxes are coding sequence, on the forward "
            "strand in dark blue.",
        ],
        {"Log-likelihood and entropy along the locus": gene_track(values, region, genes, smooth=_SMOOTH)},
        f"mean log-likelihood in coding sequence {within:.3f} bits, outside {outside:.3f} bits",
        ["In yeast, runs of A and T between genes are easier to predict than codons."],
        "dnamamba tracks model=RUN fasta=my_genome.fa out=my.bw",
    )


_SMOOTH = 200


def generation(tour: Tour) -> Stop:
    """Generate sequence and compare its words of three letters with those of the genome."""
    alphabet = tour.genome.alphabet
    prompt = alphabet.decode(tour.genome.fetch(RECORD, 100_000, 100_200))
    count = max(1, tour.sizes.generated // 500)
    new = generate(tour.model, prompt, tour.sizes.generated // count, seed=tour.seed, batch=count)
    real = alphabet.decode(tour.genome.fetch(RECORD, 200_000, 200_000 + 10 * tour.sizes.generated))
    figure, correlation = word_scatter({"yeast": [real], "generated": new})
    shown = min(240, len(new[0]))
    lines = (new[0][i : min(i + 60, shown)] for i in range(0, shown, 60))
    return Stop(
        "New sequence",
        [
            "The model draws base after base. A dot is a word of three letters: how often yeast has it, "
            "and how often the generated sequence."
        ],
        {"Words of three letters in yeast and in generated sequence": figure},
        f"correlation of the frequencies of 64 words: {correlation:.3f}, in {sum(map(len, new)):,} new bases",
        ["Right words are the first thing that a model learns; genes are not among what this one can write."],
        "dnamamba generate model=RUN prompt=ACGT length=1000 out=new.fa",
        letters=(f">generated, the first {shown} bases", *lines),
    )


STOPS: tuple[Callable[[Tour], Stop], ...] = (pretraining, map_of_embeddings, variants, track, generation)
