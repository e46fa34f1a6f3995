"""The searches of the 2019 report, made again; and how long `evo report` takes for a large search.

    python -m benchmarks.report run --data-dir cifar10 --output report-searches
    python -m benchmarks.report winners --data-dir cifar10 --output report-searches
    python -m benchmarks.report report --output report-searches
    python -m benchmarks.report large --evaluations 5000 --output large

`run` searches with `report2019`, `report2019-fixed` and `ga`, 46 trainings each. In full, one such search is 1 to 4
PFLOP: 3 to 12 hours of two cores in float32. So the strategies run unchanged on the space `report`, but every training
does only one in `--divisor` of its steps (default: 10). Fitness is validation accuracy. `winners` then trains the best
genome of each search for all of its steps on the whole training set and measures it on the test set; `report` puts both
into one table and one figure. A command that was stopped resumes when it is given again.

`large` makes a real search with a cheap objective (strategy `ageing`, six genes of every kind) and times the whole
process of `evo report`.
"""

from __future__ import annotations

import typer

from benchmarks.command_line import start
from benchmarks.report.large import large
from benchmarks.report.searches import report, run, winners

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (run, winners, report, large):
    app.command()(command)

if __name__ == "__main__":
    start(app)
