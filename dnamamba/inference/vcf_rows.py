"""What can be scored of a VCF file's rows: the record of each, its alleles, and why others can't be."""

from typing import NamedTuple

from dnamamba.checkpoint import Model
from dnamamba.data.fasta import Genome
from dnamamba.data.intervals import unknown_record
from dnamamba.data.regions import UNKNOWN
from dnamamba.data.symbolic import Event, event_of
from dnamamba.data.synonyms import Synonyms
from dnamamba.data.variants import VcfRow
from dnamamba.errors import UserError
from dnamamba.inference.effects import Site, Windows
from dnamamba.inference.variants import (
    REF_MISMATCH,
    SYMBOLIC,
    SYMBOLIC_BASES,
    UNKNOWN_RECORD,
    Readable,
    Unscored,
    check_change,
    check_event,
    check_ref,
    site_of,
    spelled_site,
    spelled_up_to,
)


class Plan(NamedTuple):
    """What can be scored of a row.

    Attributes:
        alts: which of its alternative alleles, by number.
        problems: what keeps each of them from being scored, if so; of a row without any, the row's own.
        record: of the FASTA, where it lies.
        events: what those alleles do that are symbolic, by number.
    """

    alts: list[int]
    problems: list[Unscored | None]
    record: str
    events: dict[int, Event] = {}  # noqa: RUF012  # never changed

    @property
    def unscored(self) -> Unscored | None:
        """The first problem."""
        return next(filter(None, self.problems), None)


class Records:
    """Finds the records of a FASTA file that a VCF file's rows lie on.

    Args:
        genome: the FASTA.
        unknown: rows on other records: `error`, or `skip`, which leaves them without a score.
        symbolic: the most bases of a `<DEL>`, `<DUP>` or `<INV>` that is spelled out.
        readable: the windows that the model can read; None: all.

    Raises:
        UserError: another word, or a negative number.
    """

    key = "unknown"  # of the command, for messages

    def __init__(
        self,
        genome: Genome,
        unknown: str = "error",
        symbolic: int = SYMBOLIC_BASES,
        readable: Readable | None = None,
    ) -> None:
        if symbolic < 0:
            raise UserError(f"symbolic: must be at least 0 bases (got {symbolic}); 0 spells out nothing")
        if unknown not in UNKNOWN:
            raise UserError(f"unknown: must be {' or '.join(UNKNOWN)} (got {unknown!r})")
        self.genome, self.unknown, self.symbolic, self.readable = genome, unknown, symbolic, readable
        self.synonyms = Synonyms(genome.lengths)

    @classmethod
    def of_model(
        cls, genome: Genome, unknown: str, symbolic: int, model: Model, windows: Windows, longest: int | None
    ) -> "Records":
        """Return the same for what a model can read.

        Args:
            genome, unknown, symbolic: see the class; fewer bases are spelled out where the model reads fewer.
            model, windows, longest: see `Readable.by`.

        Raises:
            UserError: another word, or a negative number.
        """
        readable = Readable.by(model, windows, longest)
        return cls(genome, unknown, spelled_up_to(symbolic, model, windows), readable)

    def plan(self, row: VcfRow, where: str) -> Plan:
        """Return what can be scored of a row.

        Raises:
            UserError: its record is not in the FASTA.
        """
        record, genome, each = self.synonyms.find(row.name), self.genome, max(1, len(row.alts))
        if record is None:
            said = unknown_record(row.name, genome.lengths)
            if self.unknown == "error":
                raise UserError(f"{where}: {genome.path} has {said} ({self.key}=skip marks such rows)")
            return Plan([], [Unscored(UNKNOWN_RECORD, f"the FASTA has {said}")] * each, "")
        found = check_ref(genome, record, row.position, row.ref)
        if found and (found.reason == REF_MISMATCH or not row.alts):
            return Plan([], [found] * each, record)
        problems: list[Unscored | None] = []
        events: dict[int, Event] = {}
        for number, alt in enumerate(row.alts):
            if alt is not None:
                problems.append(found or check_change(row.ref, alt))
                continue
            # Of a symbolic allele REF is often N: its base is the FASTA's.
            event = event_of(row, number)
            if isinstance(event, str):
                problems.append(Unscored(SYMBOLIC, event))
                continue
            problems.append(check_event(genome, record, row.position, event, self.symbolic))
            events[number] = event
        for number, problem in enumerate(problems):
            if problem is None and self.readable is not None:
                alone = self.site(row, Plan([number], [], record, events))
                problems[number] = self.readable.check(genome, alone)
        return Plan([i for i, problem in enumerate(problems) if problem is None], problems, record, events)

    def site(self, row: VcfRow, can: Plan) -> Site:
        """Build the site of a row's alleles that can be scored: those of `plan`, with `alts`."""
        alts = [can.events.get(i) or row.alts[i] for i in can.alts]
        known = [alt for alt in alts if alt is not None]
        if not any(isinstance(alt, Event) for alt in known):
            letters = [alt for alt in known if isinstance(alt, str)]
            return site_of(self.genome, can.record, row.position, row.ref, letters)
        return spelled_site(self.genome, can.record, row.position, row.ref, known)
