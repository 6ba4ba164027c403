"""What is asked of a fleet: servers that come, stay and go. Drawn from distributions by a seed, or read from a recorded trace.

Moments and lifetimes are seconds of virtual time. Arrivals are a Poisson process, lifetimes exponential: the plainest
assumptions that still make a fleet churn; whoever knows better records a trace.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.clock import Random
from kilonova.model.errors import Misconfigured
from kilonova.model.guest import GuestSpec


class Size(msgspec.Struct, frozen=True):
    """A flavor, and how often it is asked for among the others."""

    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    share: float

    @property
    def need(self) -> Need:
        return Need(vcpus=self.vcpus, memory_mb=self.memory_mb, disk_gb=self.disk_gb)


MIXED = (
    Size("m1.tiny", 1, 512, 1, 0.25),
    Size("m1.small", 1, 2048, 20, 0.35),
    Size("m1.medium", 2, 4096, 40, 0.25),
    Size("m1.large", 4, 8192, 80, 0.12),
    Size("m1.xlarge", 8, 16384, 160, 0.03),
)
"""Many small ones, few large ones."""

_POLICIES = ("anti-affinity", "affinity", "soft-anti-affinity")
_OF_GROUP = 8  # servers ask for one group until it has about this many


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One server that is asked for at ``at``, for ``lifetime`` seconds. ``group`` is its name, which tells the policy too."""

    at: float
    lifetime: float
    size: Size
    project: str
    zone: str | None = None
    trait: str | None = None
    group: str | None = None

    def request(self, number: int) -> ScheduleServer:
        """As nova-api would send it."""
        guest = GuestSpec(
            server_id=f"server-{number}",
            name=f"server-{number}",
            hostname=f"server-{number}",
            project_id=self.project,
            user_id=self.project,
            vcpus=self.size.vcpus,
            memory_mb=self.size.memory_mb,
            disk_gb=self.size.disk_gb,
            extra_specs={} if self.trait is None else {f"trait:{self.trait}": "required"},
        )
        hints = {} if self.group is None else {"group": self.group}
        return ScheduleServer(
            action_id=f"action-{number}",
            epoch=0,
            guest=guest,
            need=self.size.need,
            availability_zone=self.zone,
            hints=hints,
        )


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How servers are asked for: ``arrival`` a second, ``lifetime`` seconds on average (0: for ever); shares are 0…1."""

    servers: int
    arrival: float
    lifetime: float = 0.0
    sizes: Sequence[Size] = MIXED
    projects: int = 20
    zones: Sequence[str] = ()
    zoned: float = 0.3
    traits: Sequence[str] = ()
    traited: float = 0.1
    grouped: float = 0.2

    def wishes(self, source: Random) -> Iterator[Wish]:
        """Servers in the order they come."""
        at, groups = 0.0, 0
        shares = [size.share for size in self.sizes]
        for _ in range(self.servers):
            at += source.expovariate(self.arrival)
            group, project = None, source.randrange(self.projects)
            if source.random() < self.grouped:
                groups += source.random() < 1 / _OF_GROUP
                project = groups % self.projects
                group = f"{_POLICIES[groups % len(_POLICIES)]}/{groups}"
            zoned = source.random() < self.zoned
            yield Wish(
                at=at,
                lifetime=source.expovariate(1 / self.lifetime) if self.lifetime else float("inf"),
                size=source.choices(self.sizes, shares)[0],
                project=f"project-{project}",
                zone=source.choice(self.zones) if self.zones and zoned and group is None else None,
                trait=source.choice(self.traits) if self.traits and source.random() < self.traited else None,
                group=group,
            )


_COLUMNS = {"at", "lifetime", "vcpus", "memory_mb", "disk_gb", "project"}


def recorded(path: Path) -> Iterator[Wish]:
    """A trace: CSV with a head, columns at, lifetime (empty: for ever), vcpus, memory_mb, disk_gb, project and, if wanted, zone,
    trait and group (``policy/name``), in order of ``at``. Raises ``Misconfigured`` naming the line."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if missing := _COLUMNS - set(rows.fieldnames or ()):
            raise Misconfigured(f"{path}: the trace has no column {', '.join(sorted(missing))}")
        before = 0.0
        for row in rows:
            try:
                wish = _read(row)
            except (TypeError, ValueError) as error:
                raise Misconfigured(f"{path}, line {rows.line_num}: {error}") from None
            if wish.at < before:
                raise Misconfigured(f"{path}, line {rows.line_num}: 'at' goes back from {before:g} to {wish.at:g}")
            before = wish.at
            yield wish


def _read(row: dict[str, str]) -> Wish:
    vcpus, memory, disk = (int(row[name]) for name in ("vcpus", "memory_mb", "disk_gb"))
    lifetime = float(row["lifetime"]) if row["lifetime"] else float("inf")
    if min(vcpus, memory) < 1 or disk < 0 or not lifetime >= 0:
        raise ValueError("sizes and lifetime must be positive")
    return Wish(
        at=float(row["at"]),
        lifetime=lifetime,
        size=Size(f"{vcpus}x{memory}x{disk}", vcpus, memory, disk, 1.0),
        project=row["project"],
        zone=row.get("zone") or None,
        trait=row.get("trait") or None,
        group=row.get("group") or None,
    )
