"""Numbers that an operator sets in the metadata of aggregates, in place of the configuration's."""

import math
from collections.abc import Sequence

import numpy as np

from kilonova.scheduler.view import AggregateFacts, Floats, HostView


def least(view: HostView, key: str, otherwise: float, *, whole: bool = False) -> Floats:
    """For each host the least of what its aggregates say under ``key``; ``otherwise`` where none does, or one is no number
    (``whole``: no whole number)."""
    if key not in view.records.aggregate_keys:
        return np.full(len(view), float(otherwise))

    def of(aggregates: Sequence[AggregateFacts]) -> float:
        said = {aggregate.metadata[key] for aggregate in aggregates if key in aggregate.metadata}
        try:
            numbers = [float(int(word) if whole else float(word)) for word in said]
        except (ValueError, OverflowError):
            return otherwise
        return min(numbers) if numbers and all(map(math.isfinite, numbers)) else otherwise

    return view.measure_aggregates(of)
