"""Hosts that are kept for some images, by the configuration."""

from collections.abc import Collection

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostView


class IsolatedHostsFilter:
    """The isolated images are at home on the isolated hosts; ``restrict``: and no others may go there."""

    fixed = True

    def __init__(self, hosts: Collection[str], images: Collection[str], *, restrict: bool) -> None:
        self._hosts = frozenset(hosts)
        self._images = frozenset(images)
        self._restrict = restrict

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        isolated = view.nowhere()
        isolated[view.rows(self._hosts)] = True
        if request.image_id in self._images:
            return isolated
        return np.logical_not(isolated) if self._restrict else view.everywhere()

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        if view.names[row] in self._hosts:
            return "a host for any image", "a host kept for other images"
        return f"a host kept for image {request.image_id}", "a host for any image"
