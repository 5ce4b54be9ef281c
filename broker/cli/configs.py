"""`floe configs describe|set|unset`: settings of topics, brokers and groups, with where each comes from."""

import click

from broker.cli import admin
from broker.cli.client import Address, Client
from broker.cli.options import bootstrap_option, key_value, output_option
from broker.cli.output import print_json, print_table

_RESOURCES = {
    "topic": admin.TOPIC,
    "broker": admin.BROKER,
    "broker-logger": admin.BROKER_LOGGER,
    "client-metrics": admin.CLIENT_METRICS,
    "group": admin.GROUP,
}
_resource_argument = click.argument("resource", metavar="TYPE", type=click.Choice(list(_RESOURCES)))


@click.group()
def configs() -> None:
    """Show and change settings.

    TYPE is topic, broker, group, broker-logger or client-metrics. NAME is the topic's name, the broker's
    id (or "default" for the setting of all brokers), the group's id.
    """


@configs.command()
@_resource_argument
@click.argument("name")
@click.argument("keys", metavar="[KEY...]", nargs=-1)
@click.option("-a", "--all", "show_all", is_flag=True, help="Also show settings that are at their default.")
@bootstrap_option
@output_option
def describe(
    resource: str,
    name: str,
    keys: tuple[str, ...],
    show_all: bool,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Show the settings of NAME that somebody set, those named by KEY, or --all."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = admin.describe_configs(client, _RESOURCES[resource], _resource_name(resource, name), keys)
    shown = [setting for setting in found if show_all or keys or not setting.is_default]
    if output == "json":
        print_json(
            [
                {
                    "name": setting.name,
                    "value": setting.value,
                    "source": admin.SOURCES.get(setting.source, str(setting.source)),
                    "default": setting.default,
                    "read_only": setting.read_only,
                    "sensitive": setting.sensitive,
                }
                for setting in shown
            ]
        )
    elif shown:
        print_table(("SETTING", "VALUE", "SOURCE", "DEFAULT"), [_row(setting) for setting in shown])
    elif keys:
        click.echo(f"The broker knows no such setting of a {resource}: {', '.join(keys)}", err=True)
    else:
        click.echo(
            f"All {len(found)} settings of {resource} {name} are at their defaults; see them with --all.",
            err=True,
        )


def _row(setting: admin.Setting) -> tuple[object, ...]:
    value = "(hidden)" if setting.sensitive else setting.value
    return setting.name, value, admin.SOURCES.get(setting.source, setting.source), setting.default


def _resource_name(resource: str, name: str) -> str:
    return "" if resource == "broker" and name == "default" else name


@configs.command("set")
@_resource_argument
@click.argument("name")
@click.argument("settings", metavar="KEY=VALUE...", type=key_value, nargs=-1, required=True)
@bootstrap_option
def set_settings(
    resource: str,
    name: str,
    settings: tuple[tuple[str, str], ...],
    bootstrap: list[Address],
    timeout_s: float,
) -> None:
    """Set settings of NAME."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        resource_name = _resource_name(resource, name)
        admin.alter_configs(client, _RESOURCES[resource], resource_name, values=dict(settings))
    click.echo(f"Set {', '.join(f'{key}={value}' for key, value in settings)} on {resource} {name}.")


@configs.command()
@_resource_argument
@click.argument("name")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@bootstrap_option
def unset(
    resource: str, name: str, keys: tuple[str, ...], bootstrap: list[Address], timeout_s: float
) -> None:
    """Put settings of NAME back to their defaults."""
    resource_type, resource_name = _RESOURCES[resource], _resource_name(resource, name)
    with Client(bootstrap, timeout_s=timeout_s) as client:
        if resource_type in (admin.TOPIC, admin.BROKER, admin.GROUP):
            admin.require_settings(client, resource_type, resource_name, keys)
        admin.alter_configs(client, resource_type, resource_name, unset=keys)
    click.echo(f"{', '.join(keys)} of {resource} {name}: back to the default.")
