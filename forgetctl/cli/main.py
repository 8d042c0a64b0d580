"""The command line: a module a command, each options -> one call -> echo -> exit code. No logic, and no torch until a
command needs it."""

from __future__ import annotations

import click

from .. import __version__
from ._failures import Commands
from .audit import audit
from .demo import demo
from .keys import keygen
from .merge import merge
from .methods import methods, recipes
from .process import no_core_files
from .prove import prove
from .purge import purge
from .reference import reference
from .report import report, schema
from .requests import requests
from .rows import rows
from .seal import seal
from .study import study
from .tune import tune
from .unlearn import unlearn
from .verify import verify


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="forgetctl")
def cli() -> None:
    """Make a language model forget what a deletion request names, check that it did, and write the report.

    \b
      forgetctl unlearn --model ./llama --forget requests.jsonl --method npo-rt
      forgetctl verify --reference ./retrained
      forgetctl report --html
      forgetctl seal --key forgetctl.key

    Exit codes: 0 done or PASS, 1 error, 2 wrong use or input, 3 FAIL, 4 INCONCLUSIVE, 5 a request is overdue,
    130 interrupted. `audit` has its own: 0 sound, 1 broken, 2 malformed, 3 policy unmet.
    """


for command in (
    unlearn, verify, report, tune, reference, merge, rows, methods, recipes, requests, keygen, seal, audit, prove,
    purge, study, schema, demo,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """The console script."""
    no_core_files()
    cli()
