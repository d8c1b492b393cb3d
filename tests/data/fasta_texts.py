"""Random FASTA files, and what is in them by the plainest of readers."""

import gzip
import io

from Bio import bgzf
from hypothesis import strategies as st

RECORD_NAMES = st.text(alphabet="abcXYZ019._|:-é", min_size=1, max_size=6)
BASES = st.text(alphabet="ACGTNacgtnRYSWKMrysw", min_size=1, max_size=200)


@st.composite
def fasta_files(draw, bases=BASES):
    """(records by name, text): any width, line end, header, blank lines before and after records."""
    names = draw(st.lists(RECORD_NAMES, min_size=1, max_size=4, unique=True))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    lines, records = [""] * draw(st.integers(0, 2)), {}
    for name in names:
        records[name] = draw(bases)
        width = draw(st.integers(1, 80))
        lines.append(
            draw(st.sampled_from([">", "> "])) + name + draw(st.sampled_from(["", " a title", "\tété >x"]))
        )
        lines += [""] * draw(st.integers(0, 1))
        lines += [records[name][start : start + width] for start in range(0, len(records[name]), width)]
        lines += [""] * draw(st.integers(0, 2))
    end = draw(st.sampled_from(["", newline]))
    return records, (newline.join(lines) + end).encode()


def bgzip(text, block=65280):
    """Text as BGZF in blocks of at most `block` bytes."""
    out = io.BytesIO()
    with bgzf.BgzfWriter(fileobj=_Unclosed(out), mode="wb", compresslevel=1) as file:
        for start in range(0, len(text), block):
            file.write(text[start : start + block])
            file.flush()
    return out.getvalue()


class _Unclosed:
    def __init__(self, file):
        self.write, self.flush = file.write, file.flush

    def close(self):
        pass


COMPRESSIONS = {
    "g.fa": bytes,
    "g.fasta.gz": lambda text: gzip.compress(text, 1),
    "g.txt": lambda text: gzip.compress(text, 1),
    "two_members.fa.gz": lambda text: gzip.compress(text[:50], 1) + gzip.compress(text[50:], 1),
    "g.fa.gz": bgzip,
    "g.fa.BGZ": lambda text: bgzip(text, 7),
    "bgzf_by_another.name": bgzip,
}
