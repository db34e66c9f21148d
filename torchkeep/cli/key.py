"""`torchkeep key`: who may call the gateway, and what they may."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from gateway.identity.api_key_file import ApiKey, ApiKeyFile, NewKey
    from gateway.principal import Permission

Name = Annotated[str, typer.Argument(help="Name of the key: who or what will use it.")]
ExpiresDays = Annotated[
    int | None,
    typer.Option(min=1, max=36_500, help="Days until it expires; without this it stays."),
]
ROLES = "predict, explain, observe (metadata, statistics) or admin (all)"

key = typer.Typer(name="key", no_args_is_help=True, rich_markup_mode="rich")


@key.callback()
def _key() -> None:
    """Make, list, renew and revoke the API keys of the gateway's callers.

    Only digests are kept, in keys/api-keys.json. A running gateway follows within a second.

    Examples:
        torchkeep key add web-shop --permission predict --expires-days 90

        torchkeep key list

        torchkeep key rotate web-shop --overlap 3600

        torchkeep key revoke web-shop

    """


@key.command()
def add(
    name: Name,
    permission: Annotated[
        list[str] | None,
        typer.Option(help=f"{ROLES}; may be given several times. By default predict."),
    ] = None,
    expires_days: ExpiresDays = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once.

    Examples:
        torchkeep key add web-shop

        torchkeep key add monitor --permission observe --expires-days 90

        torchkeep key add analyst --permission predict --permission explain --json

    """
    permissions = _permissions(permission or ["predict"])
    _tell_once(_file().add(name, permissions, expires=_end(expires_days)), as_json)


@key.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Show the keys, but nothing that would let anyone in.

    Examples:
        torchkeep key list

        torchkeep key list --json

    """
    rows = [_facts(each) for each in _file().known()]
    if as_json:
        print_json({"keys": rows})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "id", "permissions", "created (UTC)", "expires (UTC)"):
        table.add_column(column, overflow="fold")
    for row in rows:
        ends = f"{row['expires'] or 'never'}{' (expired)' if row['expired'] else ''}"
        for until in row["old_secrets_until"]:
            ends += f"\nold secret {until}"
        permissions = ", ".join(row["permissions"])
        table.add_row(row["name"], row["id"], permissions, row["created"], ends)
    Console(highlight=False).print(table if rows else "no API key is here")


@key.command()
def rotate(
    name: Name,
    overlap: Annotated[
        int,
        typer.Option(min=0, max=31_536_000, help="Seconds for which the old secret still works."),
    ] = 0,
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Days until it expires; by default as before."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and print it, this once.

    The caller keeps its permissions and its pseudonym in the log.

    Examples:
        torchkeep key rotate web-shop

        torchkeep key rotate web-shop --overlap 86400 --expires-days 90

    """
    end = _end(expires_days)
    _tell_once(_file().rotate(name, overlap=timedelta(seconds=overlap), expires=end), as_json)


@key.command()
def revoke(name: Name, as_json: AsJson = False) -> None:
    """Take a key out of force, with the secrets it had before.

    Examples:
        torchkeep key revoke web-shop

    """
    _file().revoke(name)
    if as_json:
        print_json({"revoked": name})
    else:
        _hint(f"{name} is revoked")


def _file() -> ApiKeyFile:
    from gateway.identity.api_key_file import ApiKeyFile
    from torchkeep.paths import Home

    return ApiKeyFile.of(Home.default())


def _permissions(words: Sequence[str]) -> list[Permission]:
    from gateway.principal import Permission

    choices = [each.value for each in Permission]
    if unknown := [word for word in words if word not in choices]:
        raise SettingsError(
            f"{unknown[0]!r} is no permission", remedy=f"Choose from: {', '.join(choices)}."
        )
    return [Permission(word) for word in words]


def _end(days: int | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)


def _facts(key: ApiKey) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "name": key.name,
        "id": key.id,
        "permissions": [each.value for each in key.permissions],
        "created": _when(key.created),
        "expires": key.expires and _when(key.expires),
        "expired": key.expired(now),
        "old_secrets_until": [_when(old.expires) for old in key.old if old.expires > now],
    }


def _tell_once(made: NewKey, as_json: bool) -> None:
    if as_json:
        print_json({"key": made.text, **_facts(made.key)})
        return
    sys.stdout.write(f"{made.text}\n")
    sys.stdout.flush()
    _hint("It is shown this once and kept nowhere in clear: store it now.")


def _hint(message: str) -> None:
    Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(message)


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
