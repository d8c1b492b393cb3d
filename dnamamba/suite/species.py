"""Which species is a window from? Five mammals of two ENCODE regions, four great apes of a chromosome."""

from pathlib import Path
from typing import Any

from dnamamba.data.cache import cached
from dnamamba.datasets.species import SpeciesConfig
from dnamamba.suite.base import Published, Source, Suite
from dnamamba.training.config import FinetuneTrainConfig

APES = ("human", "chimpanzee", "gorilla", "orangutan")
TRAINED, TESTED = "ENm001", "ENm002"
ADDRESS = (
    "the ENCODE pilot regions of May 2005, in the test data of the aligner Cactus (a FASTA file per species)"
)
# Of each mammal: its file of the region that trains, and of the one that tests.
SHA256 = {
    "human": (
        "493fee6eab10e5ad11e83b86e7d32718040af82e0a57db6f3a35c272aa9bcd91",
        "81ca4d7f3ef60df96d4f775d1b860c5d9b140a8add1afc2ede57de70496e5d80",
    ),
    "mouse": (
        "7b2be1f158412231b06651df96579d8563c046cb71505ec1efb449f78fe772f9",
        "abe45e7797c3dae9f99d91e909c7b45759f5eb214b1f09a8cf8d944feec6e471",
    ),
    "dog": (
        "7b25b3913c789eabb700eb5654c6727d200d79474a6bad416ac1ba5f3d8c8efd",
        "21bc66f59e789bada9974c821e16b24a15fce2b2990dcdb9ab3646706ebcac7c",
    ),
    "cow": (
        "74807f866dd05c447c98ab1528105ba5c12747f3477b25a797dad359975950b0",
        "daa25f1e870eace41936011ccc4c9da8800f392ff4afc44979c38f0d047ab010",
    ),
    "monodelphis": (
        "c780a13b12a5ac5d36124ebe4617bcc90cb41b5f53dbfeb865826ad3bd2f5b72",
        "72b3373c64c1441edc645255ad1628931e34df36bc5e8d101e7f51b48a31de95",
    ),
}
MEASURED = "dnamamba, docs/species_h200.md, the 1.4M models of human chr20 and chrX"


def length_of(task: str | None) -> int:
    """Return the bases of a window in the task `2pN`: 2^N."""
    return 1 << int(str(task).removeprefix("2p"))


def windows(task: str | None, *, species: dict[str, Any], **own: Any) -> SpeciesConfig:
    """Return windows of both strands, equally many of each species.

    Args:
        task: `2pN`, windows of 2^N bases.
        species: FASTA file of each.
        own: other settings of `SpeciesConfig`.
    """
    length = length_of(task)
    return SpeciesConfig(
        species=species,
        remove_n=True,
        reverse_complement=True,
        draw="base",
        max_length=length,
        batch_size=max(1, (1 << 16) // length),
        valid_windows=60 * len(species),
        test_windows=300 * len(species),
        **own,
    )


def _numbered(fasta: Path) -> Path:
    """Return a copy with other names: two records of the opossum differ only behind a blank."""

    def write(to: Path) -> None:
        with fasta.open("rb") as lines, to.open("wb") as out:
            number = 0
            for line in lines:
                named = line.startswith(b">")
                number += named
                out.write(b">record_%d\n" % number if named else line)

    return cached(fasta, ".numbered.fa", write)


class Mammals(Suite):
    """Human, mouse, dog, cow and opossum: trained on one region of the genome, tested on another."""

    name = "mammals"
    metric = "accuracy"
    protocols = ("probe", "finetune")
    tasks = ("2p10", "2p13")
    split = f"{TRAINED} trains and its ends validate, {TESTED} tests; 300 test windows per species"
    sources = tuple(
        Source(f"encode/{region}/{species}.fa", digest, ADDRESS)
        for species, digests in SHA256.items()
        for region, digest in zip((TRAINED, TESTED), digests, strict=True)
    )
    published = (
        Published("human_1m4_2p10", "finetune", 0.684, MEASURED, 0.6602, 0.7214, "2p10"),
        Published(
            "5-mer logistic", "baseline", 0.635, "came with the data; its program did not", task="2p10"
        ),
        Published("human_1m4_2p10", "finetune", 0.922, MEASURED, 0.9069, 0.9443, "2p13"),
        Published(
            "5-mer logistic", "baseline", 0.883, "came with the data; its program did not", task="2p13"
        ),
    )
    train = FinetuneTrainConfig(max_steps=300, global_batch_size=64, learning_rate=1e-3, validate_every=60)

    def data(self) -> SpeciesConfig:
        """Return windows of both strands of the files below `files`."""
        trained, tested = (
            {species: str(_numbered(Path(self.files, f"encode/{region}/{species}.fa"))) for species in SHA256}
            for region in (TRAINED, TESTED)
        )
        return windows(self.task, species=trained, test_species=tested, split="file")


class GreatApes(Suite):
    """Human, chimpanzee, gorilla and orangutan: the same loci in all, each in one split alone."""

    name = "great_apes"
    metric = "accuracy"
    protocols = ("probe", "finetune")
    tasks = ("2p10", "2p12", "2p14")
    split = "by locus, the part of a record's name behind `|`: a hash holds out 10 % and 20 %"
    published = (
        Published("human_1m4_2p10", "finetune", 0.2458, MEASURED, 0.2223, 0.2708, "2p10"),
        Published("human_1m4_2p10", "finetune", 0.2433, MEASURED, 0.2185, 0.2686, "2p12"),
        Published("human_1m4_2p14", "finetune", 0.25, MEASURED, 0.2206, 0.2802, "2p14"),
    )
    train = FinetuneTrainConfig(max_steps=400, global_batch_size=64, learning_rate=1e-3, validate_every=80)

    def data(self) -> SpeciesConfig:
        """Return windows of the files `SPECIES.fa` below `files`, whose records are `SPECIES|LOCUS`."""
        files = {species: str(Path(self.files, f"{species}.fa")) for species in APES}
        return windows(self.task, species=files, split="record", valid=None, test=None)
