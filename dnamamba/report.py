"""`python -m dnamamba.report`: a run as one HTML page. See conf/report.yaml."""

from omegaconf import DictConfig

from dnamamba.commands.paths import check_given, check_paths
from dnamamba.config import command, typed


def run(cfg: DictConfig) -> None:
    """Write the page that `cfg` names."""
    check_given(cfg)
    check_paths(cfg, "run")
    from dnamamba.commands.report import ReportConfig, report_to_file  # imports Matplotlib

    report_to_file(typed(cfg, ReportConfig, ""))


def main() -> None:
    """Run the console script `dnamamba report`."""
    command(run, "report")


if __name__ == "__main__":
    main()
