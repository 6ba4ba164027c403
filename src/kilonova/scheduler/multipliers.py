"""How much each weigher counts: by the configuration, or by the aggregates of a host.

The key in an aggregate's metadata is Nova's: ``ram_weight_multiplier`` for ``RAMWeigher``. A weigher of one's own has one that
is made of its name in the same way: ``CloseToTheSeaWeigher`` has ``close_to_the_sea_weight_multiplier``.
"""

import re

from kilonova.scheduler.aggregate_numbers import least
from kilonova.scheduler.view import Floats, HostView

_NAMED_OTHERWISE = {
    "ServerGroupSoftAffinityWeigher": "soft_affinity",
    "ServerGroupSoftAntiAffinityWeigher": "soft_anti_affinity",
    "ImagePropertiesWeigher": "image_props",
}
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def multiplier_key(weigher: str) -> str:
    """The key of an aggregate's metadata for the weigher of that name."""
    plain = _WORD_BEGINS.sub("_", weigher.removesuffix("Weigher")).lower()
    return f"{_NAMED_OTHERWISE.get(weigher, plain)}_weight_multiplier"


class Multiplier:
    """How much one weigher counts on each host. Made for one state of the aggregates."""

    def __init__(self, weigher: str, configured: float, view: HostView) -> None:
        self._key = multiplier_key(weigher)
        self._configured = configured
        self._varies = self._key in view.records.aggregate_keys

    @property
    def counts(self) -> bool:
        """Whether the weigher has a say on any host."""
        return self._varies or self._configured != 0

    def on(self, view: HostView) -> Floats | float:
        """One number for each host of the view, or one for all; of several aggregates the least."""
        return least(view, self._key, self._configured) if self._varies else self._configured
