"""Pairs everybody who wants something with one thing each, if that can be done at all (augmenting paths)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def matched(wanted: Sequence[Sequence[T]]) -> list[T] | None:
    """For each list of what would do, best first, one thing that no other gets; None if that cannot be."""
    holder: dict[T, int] = {}
    for one in range(len(wanted)):
        if not _find(one, wanted, holder, set()):
            return None
    held: Mapping[int, T] = {one: thing for thing, one in holder.items()}
    return [held[one] for one in range(len(wanted))]


def _find(one: int, wanted: Sequence[Sequence[T]], holder: dict[T, int], tried: set[T]) -> bool:
    for thing in wanted[one]:  # what is free first: nobody has to change places without need
        if thing not in holder and thing not in tried:
            holder[thing] = one
            return True
    for thing in wanted[one]:
        if thing not in tried:
            tried.add(thing)
            if _find(holder[thing], wanted, holder, tried):
                holder[thing] = one
                return True
    return False
