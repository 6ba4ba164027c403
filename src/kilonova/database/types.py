"""Column types with the same meaning on all three database systems."""

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

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else _decode(value)


Id = sa.String(64)
"""A UUID or Keystone's 32 hex digits."""

Name = sa.String(255)

Moment = sa.BigInteger
"""Microseconds since the epoch: one integer sorts, compares and travels the same everywhere."""

Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""An automatic number; SQLite only makes one of a plain INTEGER."""
