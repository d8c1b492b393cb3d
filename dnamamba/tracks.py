"""`python -m dnamamba.tracks`: per-base tracks as bigWig. See conf/tracks.yaml.

`dnamamba.tracks` itself stays the function: the package turns this module away as an attribute.
"""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Write tracks as `cfg` says."""
    check_given(cfg)
    check_paths(cfg, "model", "fasta", "bed")
    from dnamamba.commands.tracks import TracksConfig, tracks_to_bigwig  # imports torch

    tracks_to_bigwig(typed(cfg, TracksConfig, ""))


def main() -> None:
    """Run the console script `dnamamba-tracks`."""
    command(run, "tracks")


if __name__ == "__main__":
    main()
