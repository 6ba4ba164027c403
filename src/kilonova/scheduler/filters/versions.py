"""Versions of hypervisors: ``>=6.2, <9`` against Nova's integer (7.2.22 is 7002022)."""

import operator
import re
from collections.abc import Callable

_TERM = re.compile(r"\s*(<=|>=|<|>|!=|==)\s*([0-9]{1,6}(?:\.[0-9]{1,6}){0,5})\s*")
_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def dotted(version: int) -> str:
    """Nova's integer as people write it."""
    return ".".join(map(str, _parts(version)))


def allows(requirement: str, version: int) -> bool:
    """Whether a version satisfies all terms of a requirement; one that is no requirement is satisfied by none."""
    there = _parts(version)
    for term in requirement.split(","):
        found = _TERM.fullmatch(term)
        if found is None:
            return False
        wanted = tuple(map(int, found[2].split(".")))
        length = max(len(there), len(wanted))
        if not _COMPARE[found[1]](_padded(there, length), _padded(wanted, length)):
            return False
    return True


def _parts(version: int) -> tuple[int, ...]:
    """Three digits each; what comes first is not zero: 1000 is 1.0."""
    parts: list[int] = []
    while version > 0:
        version, part = divmod(version, 1000)
        parts.insert(0, part)
    return tuple(parts)


def _padded(parts: tuple[int, ...], length: int) -> tuple[int, ...]:
    return parts + (0,) * (length - len(parts))
