"""Column types with the same meaning on all three database systems."""

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.engine import Dialect

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode

LongText = sa.Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")


class Json(sa.types.TypeDecorator[Any]):
    """A JSON document kept as text; encoded by msgspec, which is several times faster than the standard library."""

    impl = LongText
    cache_ok = True

    # The processors themselves, not the methods they would call: a page of servers has 14,000 of these values.
    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        return _to_text

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        return _from_text


def _to_text(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def _from_text(text: str | None) -> Any:
    return None if text is None else _decode(text)


Id = sa.String(64)
"""A UUID or Keystone's 32 hex digits."""

Name = sa.String(255)

Moment = sa.BigInteger
"""Microseconds since the epoch: one integer sorts, compares and travels the same everywhere."""

Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""An automatic number; SQLite only makes one of a plain INTEGER."""
