"""`floe serve`: flags to a BrokerConfig, then the broker. Everything a flag can say, floe.toml and FLOE_…
can too.
"""

import os
import sys

import click

from broker.cli.options import key_value

# FLOE_… variables of the commands and of the tests; the broker warns about those it does not know.
_NOT_OF_THE_BROKER = frozenset({"FLOE_BOOTSTRAP_SERVER", "FLOE_KAFKA_JARS", "FLOE_SEED", "FLOE_SOAK"})


@click.command()
@click.option(
    "--data-dir", metavar="DIR", help="Folder of the data (log.dirs). Made if missing. [env: FLOE_DATA_DIR]"
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    multiple=True,
    help="Address to accept clients on (listeners); port 0 picks a free one. [env: FLOE_LISTENERS]",
)
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False), help="Read this floe.toml."
)
@click.option(
    "--set",
    "settings",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting by its Kafka name, for example log.retention.ms=3600000. May be repeated.",
)
def serve(
    data_dir: str | None,
    listen: tuple[str, ...],
    config_file: str | None,
    settings: tuple[tuple[str, str], ...],
) -> None:
    """Run the broker until it gets SIGTERM or Ctrl-C.

    Flags beat the environment (FLOE_…), which beats the file. Prints one line with the address once
    clients can connect.
    """
    from broker.config import BrokerConfig, ConfigError

    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OF_THE_BROKER}
    overrides = dict(settings)
    if data_dir is not None:
        overrides["log.dirs"] = data_dir
    if listen:
        overrides["listeners"] = ",".join(listen)
    try:
        config = BrokerConfig.load(config_file, environment, overrides)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    from broker.runtime import serve as run_broker

    sys.exit(run_broker(config))
