"""One self-contained HTML page of a study's results."""

from runner.execute import Options


def write_report(options: Options) -> str:
    return options.out + "/report.html"
