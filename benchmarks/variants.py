"""Time to score SNVs, from a VCF file to a VCF file.

    python benchmarks/variants.py --fasta chr20.fa.gz --out logs/benchmarks/variants
    python benchmarks/variants.py --fasta chr20.fa.gz --places exons --share 0 128

`--places` are `spread` over the longest record, in a `region` of 100,000 bases, or the `exons` of a
saturated gene: all three changes of 13 intervals of 100 bases in 81,000.

First a few variants must have the scores of two forwards of two whole windows, or nothing is timed. Then
all are scored, as `python -m dnamamba.score` does it, for each precision and each size of the cells whose
variants are read together (`--share`); how far apart the scores are says what that costs. Without `--model`
it is the 1.4M model of the Mamba paper, untrained: the same work. Tables go to the terminal, everything
goes to OUT/variants.csv.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

import dnamamba
from dnamamba import Genome, LanguageModel, MambaConfig, get_alphabet
from dnamamba.data.variants import Vcf
from dnamamba.inference.device import precision_of
from dnamamba.inference.effects import Windows
from dnamamba.inference.score_vcf import check, score_vcf
from dnamamba.inference.vcf_rows import Records

Variant = tuple[str, int, str, str]


def snvs(genome: Genome, count: int, where: str = "spread") -> list[Variant]:
    """Draw single-base variants at known bases of the longest record, sorted."""
    name = max(genome.lengths, key=lambda name: genome.lengths[name])
    draw = np.random.default_rng(0)
    ids = genome.fetch(name)
    known = np.flatnonzero(ids < 4)
    middle = len(known) // 2
    if where == "exons":
        places = np.concatenate(
            [known[start : start + 100] for start in range(middle, middle + 81_000, 6_250)]
        )
        places, alts = np.repeat(places, 3), np.tile(np.arange(1, 4), len(places))
    else:
        among = known if where == "spread" else known[middle : middle + 100_000]
        places = np.sort(draw.choice(among, count, replace=False))
        alts = draw.integers(1, 4, count)
    refs = ids[places]
    alts = (refs + alts) % 4
    return [
        (name, int(place) + 1, "ACGT"[ref], "ACGT"[alt])
        for place, ref, alt in zip(places, refs, alts, strict=True)
    ]


def write_vcf(variants: list[Variant], path: Path) -> None:
    rows = "".join(f"{name}\t{place}\t.\t{ref}\t{alt}\t.\t.\t.\n" for name, place, ref, alt in variants)
    path.write_text(f"##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{rows}")


@torch.no_grad()
def require_agreement(model: LanguageModel, genome: Genome, variants: list[Variant], window: int) -> None:
    """Exit unless shared, batched, padded scoring gives what two forwards of two windows give."""
    found = dnamamba.score_variants(model, genome, variants, window=window).llr
    device = model.backbone.embedding.weight.device
    apart = []
    for (name, place, _, alt), llr in zip(variants, found, strict=True):
        start = max(0, place - 1 - window // 2)
        ref = genome.fetch(name, start, min(genome.lengths[name], place - 1 - window // 2 + window))
        other = ref.copy()
        other[place - 1 - start] = genome.alphabet.encode(alt)[0]
        scores = []
        for pair in ((ref, other), map(genome.alphabet.reverse_complement, (ref, other))):
            likelihoods = []
            for ids in pair:
                tokens = torch.tensor(ids[None], device=device)
                log_p = model(tokens).logits.log_softmax(-1)[:, :-1]
                each = log_p.gather(-1, tokens[:, 1:, None].long())[..., 0]
                likelihoods.append(each[tokens[:, 1:] < 4].sum(dtype=torch.float64).item())
            scores.append(likelihoods[1] - likelihoods[0])
        apart.append(abs(np.mean(scores) - llr))
    worst = np.max(apart)  # NaN if one is
    print(f"scores and two whole forwards, largest difference of {len(variants)}: {worst:.1e} nats")
    if not worst < 1e-2:
        raise SystemExit("shared scoring is off: no times are shown")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fasta", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a trained model")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmarks/variants"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--places", choices=("spread", "region", "exons"), default="spread")
    parser.add_argument("--window", type=int, default=8192)
    parser.add_argument("--share", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    options = parser.parse_args()
    torch.manual_seed(0)
    untrained = LanguageModel(MambaConfig(d_model=128, n_layer=12))
    model = (dnamamba.load(options.model) if options.model else untrained).to(options.device).eval()
    assert isinstance(model, LanguageModel)
    genome = Genome(options.fasta, get_alphabet("dna"))
    variants = snvs(genome, options.count, options.places)
    require_agreement(model, genome, variants[:: max(1, len(variants) // 8)], options.window)

    on_gpu = model.backbone.embedding.weight.device.type == "cuda"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    around = [
        torch.cuda.get_device_name() if on_gpu else "cpu",
        torch.__version__,
        commit.stdout.strip() or "unknown",
    ]
    rows, scores = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path, few, out = (Path(folder) / name for name in ("in.vcf", "few.vcf", "out.vcf"))
        write_vcf(variants, path)
        write_vcf(variants[:64], few)
        for precision, share in product(options.precision, options.share):
            windows = Windows(options.window, share=share)
            with precision_of(model, precision):
                score_vcf(model, Vcf(few), Records(genome), windows, None, out, lambda done: None)
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
                vcf = Vcf(path)
                check(vcf, Records(genome), print)
                score_vcf(model, vcf, Records(genome), windows, None, out, lambda done: None)
                seconds = time.perf_counter() - began
            scores[precision, share] = np.array(
                [float(row.columns[7].split(b"DNAMAMBA_LLR=")[1].split(b";")[0]) for row in Vcf(out).rows()]
            )
            found, first = scores[precision, share], scores[options.precision[0], options.share[0]]
            peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
            apart = float(np.sqrt(np.mean((found - first) ** 2)))
            place = [options.places, len(variants), options.window]
            rows.append([precision, share, *place, round(seconds, 2), round(peak, 2), round(apart, 6)])
            print(
                f"{precision}, share {share}: {len(variants):,} SNVs ({options.places}) in {seconds:.1f} s, "
                f"peak {peak:.1f} GiB; standard deviation {found.std():.4f} nats, root mean square from the "
                f"first {apart:.4f}, correlation {np.corrcoef(found, first)[0, 1]:.4f}",
                flush=True,
            )
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "variants.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = "precision share places variants window seconds peak_gib rms_from_first device torch commit"
        writer.writerow(header.split())
        writer.writerows([*row, *around] for row in rows)
    print(f"wrote {options.out / 'variants.csv'}")


if __name__ == "__main__":
    main()
