"""Weighers by what hosts measure of themselves, and by what runs there already."""

from collections.abc import Mapping

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Floats, HostView


class MetricsWeigher:
    """The sum of the host's metrics, each times its ``setting``; ``unavailable`` for a host that lacks one that counts."""

    reads = ("metrics",)

    def __init__(self, setting: Mapping[str, float], unavailable: float) -> None:
        self._setting = {name: ratio for name, ratio in setting.items() if ratio}
        self._unavailable = unavailable

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return view.measure(view.columns.metrics, view.records.metrics, self._sum)

    def _sum(self, there: Mapping[str, float]) -> float:
        if not self._setting.keys() <= there.keys():
            return self._unavailable
        return sum(there[name] * ratio for name, ratio in self._setting.items())


class ImagePropertiesWeigher:
    """Servers on the host whose image has properties of the request's own: each of them counts as ``setting`` says, or one."""

    reads = ("images",)

    def __init__(self, setting: Mapping[str, float]) -> None:
        self._setting = setting

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        wanted = request.guest.properties.items()
        if not wanted:
            return np.zeros(len(view))
        worth = {
            image_id: sum(
                self._setting.get(name, 0.0) if self._setting else 1.0 for name, _ in properties.items() & wanted
            )
            for image_id, properties in view.records.image_properties.items()
        }
        return view.measure(
            view.columns.images,
            view.records.images,
            lambda there: float(sum(count * worth.get(image_id, 0.0) for image_id, count in there.items())),
        )
