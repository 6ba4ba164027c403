"""What an operator asks before it is done: how many servers would fit, and whether a host can be emptied."""

from typing import Any

import msgspec


class NewHosts(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts that are imagined: ``count`` of them like the host ``like`` (None: the first there is), empty, and in its aggregates.

    What may be claimed of each, where it is not as of that host: cores, MiB, GiB.
    """

    count: int
    like: str | None = None
    vcpus: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` servers of a flavor on the hosts there are, with ``new_hosts``, without some, after others were drained.

    ``flavor`` and ``image`` are as a server remembers them; no flavor: only about the drain.
    """

    project_id: str
    user_id: str
    flavor: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    image_id: str | None = None
    count: int = 1
    availability_zone: str | None = None
    hints: dict[str, Any] = {}
    new_hosts: NewHosts | None = None
    without_hosts: list[str] = []
    drain: list[str] = []
