"""Rows of ``console_tokens``. Only a token's hash is kept, so nobody who reads the table can open a console."""

import hashlib

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import console_tokens as table
from kilonova.model.console import ConsoleToken

_t = table.c
_FIELDS = [_t[name] for name in ConsoleToken.__struct_fields__]
_FORGET_SERVER = table.delete().where(_t.server_id == sa.bindparam("of_server"))


def insert(connection: Connection, token: str, stands_for: ConsoleToken, now: int) -> None:
    """A new token; those that have expired are forgotten on the way."""
    connection.execute(table.delete().where(_t.expires_at <= now))
    connection.execute(table.insert(), {"token_hash": _hash(token), **msgspec.to_builtins(stands_for)})


def find(connection: Connection, token: str, now: int) -> ConsoleToken | None:
    """What a token stands for; None if it is unknown or has expired."""
    query = sa.select(*_FIELDS).where(_t.token_hash == _hash(token), _t.expires_at > now)
    row = connection.execute(query).first()
    return None if row is None else ConsoleToken(**row._mapping)


def forget_server(connection: Connection, server_id: str) -> None:
    """Void all tokens of a server: it is deleted, or on another host."""
    connection.execute(_FORGET_SERVER, {"of_server": server_id})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
