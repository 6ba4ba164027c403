"""Rows of ``findings``: what each host's last comparison with the database found and may not mend by itself."""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import findings
from kilonova.model.finding import Finding

_f = findings.c
_OF_HOST = sa.select(_f.kind, _f.subject).where(_f.host == sa.bindparam("of_host"))


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A finding of a host. Moments in microseconds; ``last_seen_at`` is the host's last word on it."""

    host: str
    kind: str
    subject: str
    message: str
    first_seen_at: int
    last_seen_at: int


def replace(connection: Connection, host: str, found: Sequence[Finding], now: int) -> None:
    """All that a host finds now. What it found before and does not find any more is forgotten."""
    known = connection.execute(_OF_HOST, {"of_host": host}).all()
    before = {(row.kind, row.subject) for row in known}
    current = {(one.kind, one.subject): one.message for one in found}
    for kind, subject in sorted(before - set(current)):
        connection.execute(findings.delete().where(_f.host == host, _f.kind == kind, _f.subject == subject))
    for (kind, subject), message in sorted(current.items()):
        if (kind, subject) in before:
            seen = findings.update().where(_f.host == host, _f.kind == kind, _f.subject == subject)
            connection.execute(seen.values(message=message, last_seen_at=now))
        else:
            moments = {"first_seen_at": now, "last_seen_at": now}
            row = {"host": host, "kind": kind, "subject": subject, "message": message, **moments}
            _add(connection, row)


def _add(connection: Connection, row: Mapping[str, object]) -> None:
    try:
        with connection.begin_nested():
            connection.execute(findings.insert(), row)
    except sa.exc.IntegrityError:
        return  # by the same report, asked twice at once


def listing(connection: Connection) -> list[Reported]:
    """Those of all hosts, the oldest first."""
    query = sa.select(findings).order_by(_f.first_seen_at, _f.host, _f.kind, _f.subject)
    return [Reported(**row._mapping) for row in connection.execute(query)]


def forget_host(connection: Connection, host: str) -> None:
    """The host is gone, and with it whatever it found."""
    connection.execute(findings.delete().where(_f.host == host))
