"""What the flavor asks of the hypervisor: extra specs ``capabilities:…``."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.filters.operators import satisfies
from kilonova.scheduler.host_values import is_there, known_for_all_of_a_kind, of_host, of_kind
from kilonova.scheduler.view import Bools, HostKind, HostView

_SCOPE = "capabilities"


class ComputeCapabilitiesFilter:
    """What the host reports satisfies the extra specs under ``capabilities:``; colons lead into nested records.

    A spec without any scope counts on hosts that have something of its name.
    """

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = list(_wanted(request))
        if not wanted:
            return view.everywhere()
        passing = view.everywhere().copy()
        for path, requirement, scoped in wanted:
            if known_for_all_of_a_kind(path[0]):
                passing &= view.judge_kinds(partial(_fits, path=path, requirement=requirement, scoped=scoped))
            else:
                for row in passing.nonzero()[0]:
                    passing[row] = satisfies(_text(of_host(view, int(row), path)), requirement)
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        need, have = [], []
        for path, requirement, scoped in _wanted(request):
            if scoped or is_there(view.kind(row), path[0]):
                value = _text(of_host(view, row, path))
                if not satisfies(value, requirement):
                    need.append(f"{':'.join(path)} {requirement}")
                    have.append(f"{':'.join(path)} {value or 'unknown'}")
        return ", ".join(need), ", ".join(have)


def _wanted(request: ScheduleServer) -> Iterator[tuple[Sequence[str], str, bool]]:
    """What is asked for: the names that lead to a value, the requirement, and whether the spec has our scope."""
    for key, requirement in request.guest.extra_specs.items():
        scope, colon, path = key.partition(":")
        if not colon:
            yield (key,), requirement, False
        elif scope == _SCOPE:
            yield path.split(":"), requirement, True
        elif key == "hw:maxphysaddr_bits":
            yield ("cpu_info", "maxphysaddr", "bits"), f">= {requirement}", True


def _fits(kind: HostKind, path: Sequence[str], requirement: str, scoped: bool) -> bool:
    if not scoped and not is_there(kind, path[0]):
        return True
    return satisfies(_text(of_kind(kind, path)), requirement)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
