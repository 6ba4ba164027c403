"""What a transaction is, and what runs it."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import msgspec
from sqlalchemy.engine import Connection

P = ParamSpec("P")
T = TypeVar("T")

Transaction = Callable[Concatenate[Connection, P], T]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the database. Seconds, and counts of connections.

    ``durable`` False trades the last moments before a power failure for speed (SQLite only:
    ``synchronous=NORMAL``); a killed process loses nothing either way. ``snapshot`` is for those who only read: every
    transaction sees one moment, and SQLite's writers are not kept waiting.
    """

    url: str
    pool_size: int = 10
    connect_timeout: float = 5.0
    statement_timeout: float = 15.0
    attempts: int = 6
    durable: bool = True
    snapshot: bool = False


class Database(Protocol):
    """Where transactions are run."""

    @property
    def dialect(self) -> str:
        """``sqlite``, ``mysql`` or ``postgresql``."""
        ...

    async def run(self, transaction: "Transaction[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it, commit it, return its value. Raises whatever it raised, then nothing has changed."""
        ...

    async def close(self) -> None:
        """Give back every connection."""
        ...


def fleeting(transaction: Callable[P, T]) -> Callable[P, T]:
    """Marks a transaction whose effect a power failure may take back: the next one of its kind says the same or better."""
    transaction.__dict__["fleeting"] = True
    return transaction


def is_fleeting(transaction: object) -> bool:
    """Whether a transaction was marked so."""
    return bool(getattr(transaction, "fleeting", False))
