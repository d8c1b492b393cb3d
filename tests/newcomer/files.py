"""Files as a plant biologist has them: a genome, its genes, an Excel sheet, peaks and variants."""

import gzip
from pathlib import Path

import numpy as np

CHROMOSOMES = {"Chr1": 24_000, "Chr2": 9_000, "Chr3": 9_000}
TISSUES = ("leaf", "root")
PROMOTER = 150  # bases before a gene, which say where it is expressed: rich in A and T, or in G and C


def make(folder: Path) -> None:
    """Write genome.fa.gz, genes.gff3, expression.csv, peaks.narrowPeak.gz and variants.vcf."""
    rng = np.random.default_rng(5)
    genome = {name: rng.choice(list("ACGT"), length) for name, length in CHROMOSOMES.items()}
    genes, rows = [], []
    for name, bases in genome.items():
        for number, start in enumerate(range(500, len(bases) - 500, 500)):
            strand, tissue = "+-"[number % 2], TISSUES[number // 2 % 2]
            end = start + 200
            rich = 0.42 if tissue == "leaf" else 0.08
            promoter = rng.choice(list("ACGT"), PROMOTER, p=[rich, 0.5 - rich, 0.5 - rich, rich])
            place = slice(start - PROMOTER, start) if strand == "+" else slice(end, end + PROMOTER)
            bases[place] = promoter
            gene = f"AT{name[-1]}G{number:05}"
            genes.append(
                f"{name}\tAraport11\tgene\t{start + 1}\t{end}\t.\t{strand}\t.\t"
                f"ID=gene:{gene};Name={gene};tissue={tissue}"
            )
            genes.append(f"{name}\tAraport11\tmRNA\t{start + 1}\t{end}\t.\t{strand}\t.\tParent=gene:{gene}")
            rows.append(
                f"{gene};{''.join(bases[start : start + 60])};{rng.normal(5, 2):.3f}".replace(".", ",")
            )
    text = "".join(
        f">{name} CHROMOSOME dumped from ADB\n{''.join(bases)}\n" for name, bases in genome.items()
    )
    (folder / "genome.fa.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "genes.gff3").write_text("##gff-version 3\n" + "\n".join(genes) + "\n")
    sheet = "Gene;Sequence;Expression\r\n" + "\r\n".join(rows) + "\r\n"
    (folder / "expression data.csv").write_bytes(b"\xef\xbb\xbf" + sheet.encode())
    peaks = 'track type=narrowPeak name="open chromatin"\n' + "".join(
        f"{number}\t{start}\t{start + 150}\tpeak{start}\t500\t.\t4.2\t3.1\t2.2\t75\n"
        for number in (1, 2, 3)
        for start in range(350, 5000, 1000)
    )
    (folder / "peaks.narrowPeak.gz").write_bytes(
        gzip.compress((peaks + "Mt\t0\t90\tm\t1\t.\t1\t1\t1\t1\n").encode())
    )
    variants = [
        f"{name[-1]}\t{position}\trs{position}\t{genome[name][position - 1]}\t"
        f"{'A' if genome[name][position - 1] != 'A' else 'G'}\t.\tPASS\t."
        for name in CHROMOSOMES
        for position in range(400, 2400, 500)
    ]
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "variants.vcf").write_text(header + "\n".join(variants) + "\n")
