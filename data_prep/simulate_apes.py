"""Simulate the great apes: evolve a real sequence along their tree, for those without the assemblies.

    python -m data_prep.simulate_apes OUT [--fasta FILE] [--size BASES] [--chromosomes N] [--seed N]

Writes into the folder OUT one FASTA file a species, and how they were made:

    human_SIMULATED.fa, and likewise chimpanzee, bonobo, gorilla and orangutan
    SIMULATED.json

The ancestor is the yeast genome of the package, or the records of FILE. With --size the ancestor is that
long, cut into --chromosomes records; where FILE is shorter it is read again, and what is read again was
evolved away from the first reading for 300 million years, so that no locus is there twice. The same
arguments give the same bytes.

The tree, its times and rates, with their sources, are in great_ape_tree.toml; --tree reads another such file.
What is simulated is not the biology of any ape: never report it as real.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.evolve import Rates, cpg_sites, evolve
from data_prep.tree import GREAT_APES, Tree, load_tree
from dnamamba.data.alphabet import Alphabet, Ids, get_alphabet
from dnamamba.data.embedded import YEAST_FASTA
from dnamamba.data.fasta import Genome
from dnamamba.data.progress import reading
from dnamamba.errors import UserError
from dnamamba.files import new_folder, replacing

MARK = "SIMULATED"
LINE = 80
# Between two readings of the same source: 0.29 substitutions a site, an indel every 40 bases.
_READ_AGAIN = 300.0
_SHORTEST_RECORD = 1000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.simulate_apes",
        description=(__doc__ or "").partition("\n\n")[0],
        epilog="docs/great_apes.md tells more",
    )
    parser.add_argument("out", type=Path, help="folder to write into; made if it is not there")
    parser.add_argument("--fasta", type=Path, default=YEAST_FASTA, help="the ancestor (default: yeast)")
    parser.add_argument(
        "--size", type=_bases, help="bases of the ancestor, such as 20e6 (default: FILE's own)"
    )
    parser.add_argument(
        "--chromosomes", type=int, default=10, help="records to cut --size into (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="from 0 to 2^63 - 1 (default: %(default)s)")
    parser.add_argument(
        "--repeats",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="times the published rate of repeat insertions: more makes species easier to tell (default: 1)",
    )
    parser.add_argument("--tree", type=Path, default=GREAT_APES, help="default: the great apes")
    options = parser.parse_args(arguments)
    try:
        simulate(
            options.out,
            fasta=options.fasta,
            size=options.size,
            chromosomes=options.chromosomes,
            seed=options.seed,
            tree=with_repeats(load_tree(options.tree), options.repeats),
        )
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _bases(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def with_repeats(tree: Tree, factor: float) -> Tree:
    """Return the tree with its rates of repeat insertions times a factor.

    Raises:
        UserError: the factor is not a number of at least 0.
    """
    if not 0 <= factor < float("inf"):
        raise UserError(f"--repeats: must be a number of at least 0 (got {factor})")
    return replace(
        tree,
        repeats=tuple(replace(family, per_megabase=factor * family.per_megabase) for family in tree.repeats),
    )


def simulate(
    out: Path,
    *,
    fasta: Path = YEAST_FASTA,
    size: int | None = None,
    chromosomes: int = 10,
    seed: int = 0,
    tree: Tree | None = None,
) -> dict[str, Path]:
    """Evolve a genome along a tree, and return the FASTA file of each species.

    Args:
        out: folder for the files; files of the same name are replaced when all is done.
        fasta: records of the common ancestor.
        size, chromosomes: see the module.
        seed: decides everything that is drawn.
        tree: nodes and rates; by default those of the great apes.

    Raises:
        UserError: a number is out of range, the FASTA can't be used, or nothing in it is long enough.
    """
    tree = tree or load_tree()
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed: must lie between 0 and 2^63 - 1 (got {seed})")
    if chromosomes < 1 or (size is not None and size < chromosomes * _SHORTEST_RECORD):
        raise UserError(
            f"--size: must have at least {_SHORTEST_RECORD:,} bases for each of the chromosomes (got "
            f"{size} for {chromosomes})"
        )
    alphabet = get_alphabet("dna")
    genome = Genome(fasta, alphabet)
    genome.load()
    rates = _rates(genome, tree)
    total = size or sum(genome.lengths.values())
    sizes: Counter[str] = Counter()
    events: dict[str, Counter[str]] = {node.name: Counter() for node in tree.nodes}
    paths = {species: out / f"{species}_{MARK}.fa" for species in tree.species}
    record_of = out / f"{MARK}.json"
    with ExitStack() as stack:
        stack.enter_context(new_folder(out))
        # The files are renamed together, when the last record of all of them is written.
        beside = {name: stack.enter_context(replacing(path)) for name, path in paths.items()}
        beside_record = stack.enter_context(replacing(record_of))
        files = {name: stack.enter_context(path.open("wb")) for name, path in beside.items()}
        done = stack.enter_context(reading("evolving", total))
        ancestors = _records(genome, tree, rates, size, chromosomes, seed)
        for number, (name, ancestor) in enumerate(ancestors):
            for species, ids in _descendants(ancestor, number, tree, rates, seed, events):
                header = f">{species}_{MARK}|{name} {MARK} from {fasta.name}, seed {seed}\n"
                files[species].write(header.encode())
                write_lines(files[species], ids, alphabet)
                sizes[species] += ids.size
            done(ancestor.size)
        beside_record.write_text(_provenance(fasta, seed, sizes, events, tree))
    for species, path in paths.items():
        print(f"{path}  {sizes[species]:,} bases, {MARK}")
    return paths


def _rates(genome: Genome, tree: Tree) -> Rates:
    known = sum(int(np.count_nonzero(genome.fetch(name) < 4)) for name in genome.names)
    if not known:
        raise UserError(f"{genome.path}: it has no A, C, G or T to evolve")
    return Rates.scaled(
        tree.substitutions, sum(cpg_sites(genome.fetch(name)) for name in genome.names) / known
    )


def _records(
    genome: Genome, tree: Tree, rates: Rates, size: int | None, chromosomes: int, seed: int
) -> Iterator[tuple[str, Ids]]:
    """Yield the records of the common ancestor."""
    if size is None:
        for name in genome.names:
            if genome.lengths[name] >= _SHORTEST_RECORD:
                yield name, genome.fetch(name)
        if max(genome.lengths.values()) < _SHORTEST_RECORD:
            raise UserError(f"{genome.path}: no record has {_SHORTEST_RECORD:,} bases")
        return
    bounds = np.linspace(0, size, chromosomes + 1).astype(np.int64).tolist()
    readings = _readings(genome, tree, rates, seed)
    left = np.empty(0, dtype=np.uint8)
    for number, (start, end) in enumerate(pairwise(bounds), start=1):
        while left.size < end - start:
            left = np.concatenate([left, next(readings)])
        yield f"chr{number}", left[: end - start]
        left = left[end - start :]


def _readings(genome: Genome, tree: Tree, rates: Rates, seed: int) -> Iterator[Ids]:
    """Yield the records of a genome repeatedly, each time more diverged from the first."""
    unchanged = replace(tree, repeats=(), duplications=replace(tree.duplications, per_megabase=0.0))
    records = [genome.fetch(name) for name in genome.names]
    reading_number = 0
    while True:
        yield from records
        reading_number += 1
        for number, ids in enumerate(records):
            rng = _generator(seed, f"reading {reading_number}", number)
            records[number], _ = evolve(ids, _READ_AGAIN, unchanged, rates, {}, rng)


def _descendants(
    ancestor: Ids, number: int, tree: Tree, rates: Rates, seed: int, events: dict[str, Counter[str]]
) -> Iterator[tuple[str, Ids]]:
    """Yield a record of every species."""
    at: dict[str, Ids] = {}
    species = tree.species
    for node in tree.nodes:
        if not node.parent:
            at[node.name] = ancestor
            continue
        families = {
            family.name: _consensus(seed, node.name, family.name, family.length) for family in tree.repeats
        }
        rng = _generator(seed, node.name, number)
        at[node.name], counts = evolve(at[node.parent], tree.branch(node), tree, rates, families, rng)
        events[node.name] += counts
        if node.name in species:
            yield node.name, at.pop(node.name)


def _consensus(seed: int, branch: str, family: str, length: int) -> Ids:
    """Return a repeat family's consensus on a branch, the same in all records."""
    rng = _generator(seed, f"{branch} {family}", 0)
    return rng.integers(4, size=length, dtype=np.uint8)


def _generator(seed: int, name: str, number: int) -> np.random.Generator:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, key, number])))


def write_lines(file: BinaryIO, ids: Ids, alphabet: Alphabet) -> None:
    """Write a sequence as lines of 80 letters."""
    letters = alphabet.to_letter[ids]
    whole = letters.size - letters.size % LINE
    lines = np.full((whole // LINE, LINE + 1), ord("\n"), dtype=np.uint8)
    lines[:, :LINE] = letters[:whole].reshape(-1, LINE)
    file.write(lines.tobytes())
    if whole < letters.size:
        file.write(letters[whole:].tobytes() + b"\n")


def _provenance(
    fasta: Path, seed: int, sizes: Counter[str], events: dict[str, Counter[str]], tree: Tree
) -> str:
    record = {
        "what": f"{MARK}: not the sequence of any ape",
        "ancestor": fasta.name,
        "seed": seed,
        "bases": dict(sizes),
        "million_years": {node.name: round(tree.branch(node), 6) for node in tree.nodes},
        "changes": {name: dict(sorted(counts.items())) for name, counts in events.items() if counts},
    }
    return json.dumps(record, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
