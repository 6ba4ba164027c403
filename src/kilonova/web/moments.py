"""Microseconds since the epoch to and from the texts of OpenStack's APIs (ISO 8601, UTC)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from kilonova.model.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BARE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- what is written down needs no zone, and isoformat is quick without


def as_datetime(micros: int) -> datetime:
    """The moment with its time zone (UTC)."""
    return _EPOCH + timedelta(microseconds=micros)


@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    """``2026-11-22T08:49:``. The moments of a page lie close together, and a third of its view's time went into isoformat."""
    return (_BARE_EPOCH + timedelta(minutes=minutes)).isoformat()[:-2]


def _text(micros: int) -> str:
    minutes, rest = divmod(micros, 60_000_000)
    seconds, rest = divmod(rest, 1_000_000)
    return f"{_minute(minutes)}{seconds:02d}.{rest:06d}"


def iso_z(micros: int | None) -> str | None:
    """``2026-11-22T08:49:15Z``: servers, images, networks."""
    if micros is None:
        return None
    minutes, rest = divmod(micros, 60_000_000)
    return f"{_minute(minutes)}{rest // 1_000_000:02d}Z"


def iso_micros(micros: int | None) -> str | None:
    """``2026-11-22T08:49:15.000000``: usage times, services, instance actions, key pairs."""
    return None if micros is None else _text(micros)


def iso_micros_z(micros: int | None) -> str | None:
    """``2026-11-22T08:49:15.000000Z``: identity."""
    return None if micros is None else _text(micros) + "Z"


def last_of_second(micros: int) -> int:
    """The end of the second that a moment is in: for what is compared with moments that were shown to the second."""
    return micros - micros % 1_000_000 + 999_999


def parse_moment(text: str, field: str) -> int:
    """ISO 8601 to microseconds; a moment without a zone is UTC. Raises ``Invalid`` naming the field."""
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "T"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: year 1 in a zone ahead of UTC
        raise Invalid(f"The {field} is no date and time: {text[:64]}") from None
    return (moment - _EPOCH) // timedelta(microseconds=1)
