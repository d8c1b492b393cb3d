"""Time to score SNVs, from a VCF file to a VCF file.

    python benchmarks/variants.py --fasta chr20.fa.gz --out logs/benchmarks/variants

First a few variants must have the scores of two forwards of two whole windows, or nothing is timed. Then
SNVs at random places of the FASTA are scored, as `python -m dnamamba.score` does it, in fp32 and in bf16;
how far apart the two are says what bf16 costs. Without `--model` it is the 1.4M model of the Mamba paper,
untrained: the same work. Tables go to the terminal, everything goes to OUT/variants.csv.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import dnamamba
from dnamamba import Genome, LanguageModel, MambaConfig, get_alphabet
from dnamamba.data.variants import Vcf
from dnamamba.inference.device import precision_of
from dnamamba.inference.effects import Windows
from dnamamba.inference.score_vcf import Records, check, score_vcf

Variant = tuple[str, int, str, str]


def snvs(genome: Genome, count: int) -> list[Variant]:
    """Draw single-base variants at known bases of the longest record, sorted."""
    name = max(genome.lengths, key=lambda name: genome.lengths[name])
    draw = np.random.default_rng(0)
    known = np.flatnonzero(genome.fetch(name) < 4)
    places = np.sort(draw.choice(known, count, replace=False))
    refs = genome.fetch(name)[places]
    alts = (refs + draw.integers(1, 4, count)) % 4
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
    worst = 0.0
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
        worst = max(worst, abs(np.mean(scores) - llr))
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
    parser.add_argument("--window", type=int, default=8192)
    options = parser.parse_args()
    torch.manual_seed(0)
    untrained = LanguageModel(MambaConfig(d_model=128, n_layer=12))
    model = (dnamamba.load(options.model) if options.model else untrained).to(options.device).eval()
    assert isinstance(model, LanguageModel)
    genome = Genome(options.fasta, get_alphabet("dna"))
    variants = snvs(genome, options.count)
    require_agreement(model, genome, variants[:: max(1, len(variants) // 8)], options.window)

    windows = Windows(options.window)
    on_gpu = model.backbone.embedding.weight.device.type == "cuda"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    around = [
        torch.cuda.get_device_name() if on_gpu else "cpu",
        torch.__version__,
        commit.stdout.strip() or "unknown",
    ]
    rows, scores = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path, few = Path(folder) / "in.vcf", Path(folder) / "few.vcf"
        write_vcf(variants, path)
        write_vcf(variants[:64], few)
        for precision in ("fp32", "bf16"):
            out = Path(folder) / f"{precision}.vcf"
            with precision_of(model, precision):
                score_vcf(model, Vcf(few), Records(genome), windows, None, out, lambda done: None)
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
                vcf = Vcf(path)
                check(vcf, Records(genome), print)
                score_vcf(model, vcf, Records(genome), windows, None, out, lambda done: None)
                seconds = time.perf_counter() - began
            scores[precision] = np.array(
                [float(row.columns[7].split(b"DNAMAMBA_LLR=")[1].split(b";")[0]) for row in Vcf(out).rows()]
            )
            peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
            rows.append([precision, options.count, options.window, round(seconds, 2), round(peak, 2)])
            print(f"{precision}: {options.count:,} SNVs in {seconds:.1f} s, peak {peak:.1f} GiB", flush=True)
    apart = np.sqrt(np.mean((scores["bf16"] - scores["fp32"]) ** 2))
    print(
        f"log-likelihood ratios in fp32: standard deviation {scores['fp32'].std():.4f} nats; bf16 is off by "
        f"{apart:.4f} (root mean square), correlation {np.corrcoef(scores['bf16'], scores['fp32'])[0, 1]:.4f}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "variants.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "precision",
                "variants",
                "window",
                "seconds",
                "peak_gib",
                "bf16_rms_error",
                "device",
                "torch",
                "commit",
            ]
        )
        writer.writerows([*row, round(float(apart), 6), *around] for row in rows)
    print(f"wrote {options.out / 'variants.csv'}")


if __name__ == "__main__":
    main()
