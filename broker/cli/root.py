"""The click group `floe`. A command's module is imported when the command is used or its help is asked for.

`floe serve` must not pay for the client and `floe topics` not for the broker, so the table below holds the
one-line help of every command: `floe --help` imports none of them.
"""

import os
import sys
from importlib import import_module
from typing import Any, cast

import click

from broker import __version__
from broker.cli.errors import CommandFailed

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# name -> (module:attribute, one line of help), in the order in which people meet them.
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("broker.cli.serve:serve", "Run the broker."),
    "topics": ("broker.cli.topics:topics", "List, create, describe, alter and delete topics."),
    "configs": ("broker.cli.configs:configs", "Show and change settings of topics and brokers."),
    "produce": ("broker.cli.produce:produce", "Send lines of stdin or a file to a topic."),
    "generate": ("broker.cli.generate:generate", "Send made-up events, for trying things out."),
    "consume": ("broker.cli.consume:consume", "Print the records of a topic."),
    "groups": ("broker.cli.groups:groups", "List, describe and delete consumer groups, move their offsets."),
    "transactions": (
        "broker.cli.transactions:transactions",
        "List, describe and abort transactions, find hanging ones.",
    ),
    "tables": ("broker.cli.tables:tables", "List, describe and keep the Iceberg tables of topics."),
    "sql": ("broker.cli.sql:sql", "Ask questions to topics: their tables and what is not in them yet."),
    "compact": ("broker.cli.compact:compact", "Compact topics now, see how compact they are."),
    "log": ("broker.cli.log:log", "Look into the log files of a data folder, offline."),
    "bench": ("broker.cli.bench:bench", "Load a broker with prebuilt requests and measure it."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is no such name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry[0].split(":")
        return cast(click.Command, getattr(import_module(module), attribute))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a failure it names becomes an error of click's kind, printed without a
        traceback.
        """
        try:
            return super().invoke(ctx)
        except CommandFailed as failure:
            raise click.ClickException(str(failure)) from failure
        except BrokenPipeError:
            # The reader (head, less) has seen enough. What Python flushes at exit goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_OK)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value and not ctx.resilient_parsing:
        click.echo(f"floe {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version.",
)
def floe() -> None:
    """Floe: a Kafka broker whose topics are Iceberg tables.

    The commands that talk to a broker speak the Kafka protocol, so they work against any Kafka (0.10 to
    4.3). Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
    """


def run() -> None:
    """Parse the process's arguments, run the command, end the process."""
    try:
        floe.main(prog_name="floe", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
