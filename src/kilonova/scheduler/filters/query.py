"""A question in JSON, by the hint ``query``: ``["and", [">=", "$free_ram_mb", 4096], ["=", "$hypervisor_type", "QEMU"]]``."""

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.host_values import of_host
from kilonova.scheduler.view import Bools, HostView

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_VERBS = {*_COMPARISONS, "in", "not", "or", "and"}
_MOST = 256  # parts of one question: it is asked of every host
_DEEPEST = 16


class JsonFilter:
    """The answer to the question is yes. ``$name`` is what the host has under that name; what it does not have is left out.

    A question that is no question is answered by no host.
    """

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        asked = request.hints.get("query")
        if not asked:
            return view.everywhere()
        question = self._understood(asked)
        passing = view.nowhere()
        if question is not None:
            for row in range(len(view)):
                passing[row] = not question or bool(_answer(question, view, row))
        return passing

    def _understood(self, asked: Any) -> list[Any] | None:
        return _parsed(asked) if isinstance(asked, str) else None

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        asked = request.hints.get("query")
        if self._understood(asked) is None:
            return "a query of the form [verb, part, …]", "something else"
        return f"the query {str(asked)[:255]}", "the answer no"


@lru_cache(maxsize=256)
def _parsed(text: str) -> list[Any] | None:
    try:
        question = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(question, list):
        return None
    return question if _parts(question, _DEEPEST) <= _MOST else None


def _parts(question: list[Any], deeper: int) -> int:
    """How many there are; more than are allowed if they do not make a question."""
    if not question:
        return 1
    if not deeper or not isinstance(question[0], str) or question[0] not in _VERBS:
        return _MOST + 1
    if any(isinstance(part, dict) for part in question):
        return _MOST + 1
    inner = [part for part in question[1:] if isinstance(part, list)]
    return len(question) + sum(_parts(part, deeper - 1) for part in inner)


def _answer(question: list[Any], view: HostView, row: int) -> bool:
    if not question:
        return True
    verb, *parts = question
    values = [value for part in parts if (value := _value(part, view, row)) is not None]
    if verb == "and":
        return all(values)
    if verb == "or":
        return any(values)
    if verb == "not":
        return any(not value for value in values)
    if len(values) < 2:
        return False
    first, *others = values
    if verb == "in":
        return first in others
    return all(_compare(_COMPARISONS[verb], first, other) for other in others)


def _value(part: Any, view: HostView, row: int) -> Any:
    if isinstance(part, list):
        return _answer(part, view, row)
    if isinstance(part, str) and part.startswith("$"):
        return of_host(view, row, part[1:].split("."))
    return part or None if isinstance(part, str) else part


def _compare(comparison: Callable[[Any, Any], bool], first: Any, other: Any) -> bool:
    try:
        return bool(comparison(first, other))
    except TypeError:  # a word and a number
        return False
