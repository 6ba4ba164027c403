"""Keeps hosts with PCI devices for those who want them."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import HostView, Ints

_ENOUGH = 99  # where there are so many, nobody has to spare them


class PCIWeigher:
    """Fewer free devices are better: servers that want none stay away from them, those that do leave no gaps."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return -np.minimum(view.columns.devices_free, _ENOUGH)
