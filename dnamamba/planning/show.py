"""A plan as a person reads it."""

from rich.console import Console
from rich.table import Table

from dnamamba.planning.devices import CPU
from dnamamba.planning.plan import Plan


def show_plan(made: Plan, console: Console) -> None:
    """Print a plan as a table."""
    table = Table(title="a step is of all processes, a micro-batch of one", title_justify="left")
    for column in ("length", "sequences\nper step", "micro-batches\nper step", "steps", "G bases"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("GiB", "time"):
        table.add_column(f"{column}\n(est.)", justify="right", no_wrap=True)
    for row in made.stages:
        table.add_row(
            f"{row.length:,}",
            f"{row.sequences_per_step:,}",
            f"{row.micro_batches:,} x {row.micro_batch:,}",
            f"{row.steps:,}",
            f"{row.bases / 1e9:,.2f}",
            "-" if row.memory_gib is None else gib(row.memory_gib),
            "-" if row.seconds is None else duration(row.seconds),
        )
    console.print(table)
    together = f", {made.context_size} for each sequence" if made.context_size > 1 else ""
    memory = "memory not measured" if made.memory_gib is None else f"{gib(made.memory_gib)} GiB each"
    time = "time not measured" if made.seconds is None else f"{duration(made.seconds)} of training steps"
    lines = [
        f"{made.parameters:,} parameters; {made.steps:,} steps, {made.bases / 1e9:,.4g} G bases "
        f"({made.bases:,})",
        f"estimated on {made.processes} x {made.device}{together}: {memory}, {time}",
    ]
    if made.device == CPU:
        lines.append("time depends on the CPU: a run with train.max_steps=20 tells it")
    if made.chunk_bases is not None:
        graphs = ", by CUDA graphs" if made.graphs else ""
        lines.insert(1, f"read by chunks of {made.chunk_bases:,} bases{graphs} (train.chunk_bases)")
    if (made.memory_gib or 0) > (made.device_memory_gib or float("inf")):
        lines.append(
            f"that is more than {'half the memory here, ' if made.device == CPU else 'its '}"
            f"{made.device_memory_gib:.0f} GiB: set a smaller data.batch_size, or "
            "train.chunk_bases=auto"
        )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def gib(memory: float | None) -> str:
    """Format GiB for a person."""
    return "not measured" if memory is None else f"{memory:.1f}"


def duration(seconds: float | None) -> str:
    """Format seconds for a person."""
    if seconds is None:
        return "not measured"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"
