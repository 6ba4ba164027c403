"""What will be asked and what will go wrong in one world: drawn from the seed before it begins, and plain data.

So a failing world can be run again with less of it (``shrink.py``), until only what matters is left.
"""

import msgspec

from kilonova.model.clock import Random

HOSTS = ("host1", "host2", "host3")
APIS = ("api", "api2")
CONTROL = (*APIS, "scheduler1", "scheduler2", "conductor1", "conductor2")
PROCESSES = (*CONTROL, *HOSTS)
PINNED = "pinned"  # a flavor whose one core is a processor of its own
DEVICE = "device"  # one with a device as well
REQUESTS_UNTIL = 14.0
FAULTS_UNTIL = 24.0
_MOVES = ("grow", "shrink", "migrate", "live", "live", "shelve")
_ENDS = {"confirm": 6, "revert": 6, "abort": 3, "unshelve": 6, "offload": 2, "delete": 1, "stop": 2}
_VERBS = ("prepare", "release", "destroy", "power_on", "power_off", "reboot")
_VERBS_OF_LIVES = ("set_paused", "suspend", "snapshot", "power_on", "power_off", "prepare", "change_nics", "command")
_PLUGGING = (
    *("attach", "attach", "attach", "detach", "detach", "password", "dump", "reboot", "stop", "start"),
    *("live", "grow", "confirm", "revert", "rebuild", "delete", "restore"),
)
_APART = ("live", "migrate", "grow", "confirm", "revert", "shelve", "unshelve", "delete")
_WAYS = (
    *(("pause", "unpause"), ("pause", "image", "unpause"), ("suspend", "resume"), ("suspend", "reboot")),
    *(("rescue", "unrescue"), ("stop", "rebuild", "start"), ("rebuild",), ("image",), ("backup", "backup")),
    *(("delete", "restore"), ("delete", "restore"), ("shelve", "unshelve"), ("reset", "rebuild"), ("delete",)),
)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a client, ``at`` seconds, about the server in ``slot``; asked again ``retries`` times.

    ``flavor``: another than the usual one. ``apart``: the servers that ask for it are to be on different hosts. ``count``: so
    many servers at once.
    """

    at: float
    kind: str
    slot: int
    project: int = 0
    retries: int = 0
    flavor: str = ""
    apart: bool = False
    count: int = 1

    def words(self) -> str:
        again = f", asked again up to {self.retries} times" if self.retries else ""
        what = " ".join(filter(None, (self.kind, self.flavor, "apart" if self.apart else "")))
        what += f" {self.count} of" if self.count > 1 else ""
        return f"{self.at:6.2f} s  {what} s{self.slot} (project p{self.project}{again})"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One misfortune, from ``at`` for ``lasts`` seconds.

    ``kill``: the process ``target``, ``turns`` turns of its own after ``at``; it comes back ``lasts`` later. ``broker``,
    ``database``: an outage. ``amnesia``: the broker is away, and comes back without a message. ``partition``: ``target``
    cannot reach the broker. ``sick``: the ``verbs`` of a host fail. ``slow``: verbs of a host take up to ``turns`` seconds
    more; ``stuck``: they do not end until it is over. ``weather``: ``chances`` of small misfortunes. ``guest``: a guest of
    the host shuts itself down. ``blind``: the service ``target`` cannot reach the database. ``forced``: an operator says that
    a host is down although it lives. ``jump``: the wall clock of ``target`` is moved by ``turns`` tenths of a second, and
    stays so. ``machine``: the host loses its power, with all that runs on it. ``frozen``: the process ``target`` stands
    still, ``turns`` turns of its own after ``at``, and then goes on as if no time had passed.
    """

    at: float
    lasts: float
    kind: str
    target: str = ""
    turns: int = 0
    verbs: tuple[str, ...] = ()
    chances: dict[str, float] = {}

    def words(self) -> str:
        what = {
            "kill": f"kill {self.target} {self.turns} turns later, back",
            "restart": f"restart {self.target} in good order, back",
            "partition": f"partition {self.target}",
            "sick": f"{self.target} fails at {', '.join(self.verbs)}",
            "slow": f"{self.target} is up to {self.turns} s slower",
            "weather": ", ".join(f"{name} {chance:.0%}" for name, chance in self.chances.items()),
            "guest": f"a guest on {self.target} shuts itself down",
            "stuck": f"{self.target} does not get on with anything",
            "blind": f"{self.target} cannot reach the database",
            "forced": f"{self.target} is forced down",
            "jump": f"the clock of {self.target} jumps by {self.turns / 10:g} s",
            "machine": f"{self.target} loses its power",
            "frozen": f"{self.target} freezes {self.turns} turns later, until",
        }.get(self.kind, f"{self.kind} outage")
        return f"{self.at:6.2f} s  {what}, for {self.lasts:.2f} s"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A whole world to be. ``skews``: seconds by which each process's wall clock is off.

    ``distance`` stretches every trip to the database and over the bus, ``pace`` is the most seconds an ordinary verb takes;
    ``reclaim`` is how long a deleted server can be restored (0: it is deleted at once). ``topology``: hosts have processors and
    one of them a device for one server each, and some servers want them. ``reconcile``: seconds between the regular comparisons
    of a host with the database; where they are rare, nothing may be left to them.
    """

    seed: int
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    skews: dict[str, float]
    slots_of_host: int
    quota: int
    distance: float
    pace: float
    reclaim: float = 0.0
    topology: bool = False
    reconcile: float = 8.0


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    source = Random(seed)
    servers = source.randint(2, 9)
    skewed = source.random() < 0.5
    asked = _operations(source, servers)
    faults = _faults(source, sorted(operation.at for operation in asked))
    moving = Random(f"{seed} moves")
    roomy = 8 if moving.random() < 0.6 else 0  # or most moves would fit nowhere
    asked += _moves(moving, servers)
    evacuations, outages = _evacuations(moving, asked)
    living = Random(f"{seed} lives")
    asked += _lives(living, servers + 10)
    faults += _ailments(living)
    asked += _plugged(Random(f"{seed} cards"), servers + 20)
    asked += _apart(Random(f"{seed} apart"), servers + 30)
    faults += _losses(Random(f"{seed} losses"), [operation.at for operation in asked])
    faults += _standstills(Random(f"{seed} frozen"), [operation.at for operation in asked])
    fitting = Random(f"{seed} topology")
    topology = fitting.random() < 0.4
    if topology:
        asked = [_particular(fitting, operation) for operation in asked]
    operations = sorted([*asked, *evacuations], key=lambda operation: operation.at)
    return Schedule(
        seed=seed,
        operations=tuple(operations),
        faults=tuple(sorted([*faults, *outages], key=lambda fault: fault.at)),
        skews={name: round(source.uniform(-0.4, 0.4), 3) if skewed else 0.0 for name in CONTROL}
        | {name: round(source.uniform(-30, 30), 3) if skewed else 0.0 for name in HOSTS},
        slots_of_host=max(roomy, source.choice((1, 2, 3, 8, 8))),
        quota=source.choice((2, 4, 10, 10, 10)),
        distance=source.choice((1.0, 1.0, 10.0, 40.0)),
        pace=source.choice((0.05, 0.3, 1.0, 4.0)),
        reclaim=living.choice((0.0, 0.0, 6.0)),
        topology=topology,
        reconcile=Random(f"{seed} reconcile").choice((8.0, 600.0)),
    )


def _particular(source: Random, operation: Operation) -> Operation:
    """Some of the servers want processors of their own, or a device; some only once they are resized."""
    if operation.kind not in ("create", "grow") or source.random() < 0.4:
        return operation
    return msgspec.structs.replace(operation, flavor=source.choice((PINNED, PINNED, DEVICE)))


def _soon(source: Random, at: float, rate: float) -> float:
    """The moment of what is asked next of the same server: mostly when all is done, sometimes right after."""
    return round(at + (source.expovariate(rate) if source.random() < 0.7 else source.uniform(0, 0.3)), 3)


def _operations(source: Random, servers: int) -> list[Operation]:
    found = []
    burst = source.random() < 0.3
    for slot in range(servers):
        at = round(source.uniform(0, 0.05 if burst else REQUESTS_UNTIL / 2), 3)
        project = source.choice((0, 0, 0, 1))
        found.append(Operation(at=at, kind="create", slot=slot, project=project, retries=source.choice((0, 0, 3))))
        while source.random() < 0.65:
            at = _soon(source, at, 0.4)
            kind = source.choices(("delete", "stop", "start", "reboot"), (4, 3, 2, 2))[0]
            if at < REQUESTS_UNTIL:
                retries = source.choice((0, 2, 5))
                found.append(Operation(at=at, kind=kind, slot=slot, project=project, retries=retries))
    return found


def _moves(source: Random, first_slot: int) -> list[Operation]:
    """In two worlds of three: servers that are moved again and again, with what ends each move sooner or later."""
    found: list[Operation] = []
    if source.random() < 1 / 3:
        return found
    for slot in range(first_slot, first_slot + source.randint(1, 4)):
        at = round(source.uniform(0, REQUESTS_UNTIL / 3), 3)
        found.append(Operation(at=at, kind="create", slot=slot, retries=3))
        while source.random() < 0.8:
            at = round(at + source.expovariate(0.4), 3)
            end = round(at + source.expovariate(0.5), 3)
            kinds = (source.choice(_MOVES), source.choices(list(_ENDS), list(_ENDS.values()))[0])
            for moment, kind in zip((at, end), kinds, strict=True):
                if moment < REQUESTS_UNTIL:
                    found.append(Operation(at=moment, kind=kind, slot=slot, retries=source.choice((2, 4, 5))))
            at = end
    return found


def _evacuations(source: Random, asked: list[Operation]) -> tuple[list[Operation], list[Fault]]:
    """In two worlds of five: a machine loses its power, and an operator has all servers made anew that were on it."""
    if source.random() < 0.6:
        return [], []
    at, lasts = round(source.uniform(0.5, 6.0), 3), round(source.uniform(13.0, 18.0), 3)
    found = [
        Operation(at=round(at + 10.0 + source.expovariate(1.0), 3), kind="evacuate", slot=create.slot, retries=4)
        for create in asked
        if create.kind == "create"
    ]
    return found, [Fault(at=at, lasts=lasts, kind="machine", target=source.choice(HOSTS))]


def _lives(source: Random, first_slot: int) -> list[Operation]:
    """In two worlds of three: servers that go through all states there are on one host."""
    found: list[Operation] = []
    if source.random() < 1 / 3:
        return found
    for slot in range(first_slot, first_slot + source.randint(1, 3)):
        at = round(source.uniform(0, REQUESTS_UNTIL / 3), 3)
        found.append(Operation(at=at, kind="create", slot=slot, project=1, retries=3))
        while source.random() < 0.9:
            for kind in source.choice(_WAYS):
                at = _soon(source, at, 0.8)
                if at < REQUESTS_UNTIL:
                    found.append(Operation(at=at, kind=kind, slot=slot, project=1, retries=source.choice((1, 3, 5))))
    return found


def _plugged(source: Random, first_slot: int) -> list[Operation]:
    """In two worlds of five: servers whose cards come and go, and that are told things, while they live and move."""
    found: list[Operation] = []
    for slot in range(first_slot, first_slot + source.choice((0, 0, 0, 1, 2))):
        at = round(source.uniform(0, REQUESTS_UNTIL / 3), 3)
        found.append(Operation(at=at, kind="create", slot=slot, project=2, retries=3))
        while source.random() < 0.9:
            at = _soon(source, at, 0.8)
            if at < REQUESTS_UNTIL:
                retries = source.choice((1, 3, 5))
                found.append(Operation(at=at, kind=source.choice(_PLUGGING), slot=slot, project=2, retries=retries))
    return found


def _apart(source: Random, first_slot: int) -> list[Operation]:
    """In one world of three: servers, several of one request, that are never to be on one host, and are moved."""
    found: list[Operation] = []
    if source.random() < 2 / 3:
        return found
    for slot in range(first_slot, first_slot + source.randint(1, 3)):
        at = round(source.uniform(0, REQUESTS_UNTIL / 2), 3)
        count = source.choice((1, 1, 2))
        found.append(Operation(at=at, kind="create", slot=slot, project=2, retries=1, apart=True, count=count))
        while source.random() < 0.7:
            at = round(at + source.expovariate(0.5), 3)
            if at < REQUESTS_UNTIL:
                retries = source.choice((1, 3, 5))
                found.append(Operation(at=at, kind=source.choice(_APART), slot=slot, project=2, retries=retries))
    return found


def _ailments(source: Random) -> list[Fault]:
    """Hosts that fail at what those servers ask of them."""
    found = []
    for _ in range(source.choice((0, 0, 1, 2))):
        at = round(source.uniform(0, REQUESTS_UNTIL), 3)
        lasts = round(min(source.expovariate(0.3) + 0.2, FAULTS_UNTIL - at), 3)
        verbs = tuple(source.sample(_VERBS_OF_LIVES, source.randint(1, 3)))
        found.append(Fault(at=at, lasts=lasts, kind="sick", target=source.choice(HOSTS), verbs=verbs))
    return found


def _losses(source: Random, busy: list[float]) -> list[Fault]:
    """In one world of ten: the broker is lost with all it held."""
    if source.random() < 0.9:
        return []
    at = round(min(source.choice(busy) + source.expovariate(1.0), REQUESTS_UNTIL), 3)
    return [Fault(at=at, lasts=round(source.expovariate(0.3) + 0.05, 3), kind="amnesia")]


def _standstills(source: Random, busy: list[float]) -> list[Fault]:
    """In two worlds of five: processes that stand still, mostly for longer than their leases."""
    found = []
    for _ in range(source.choice((0, 0, 0, 1, 2))):
        at = round(min(source.choice(busy) + source.expovariate(1.0), REQUESTS_UNTIL), 3)
        lasts = source.expovariate(0.5) if source.random() < 0.3 else source.uniform(6.0, FAULTS_UNTIL - at)
        turns = int(source.expovariate(1 / 25))
        target = source.choice((*PROCESSES, *HOSTS))
        found.append(Fault(at=at, lasts=round(lasts, 3), kind="frozen", target=target, turns=turns))
    return found


def _faults(source: Random, busy: list[float]) -> list[Fault]:
    found = [_weather(source)] if source.random() < 0.7 else []
    for _ in range(source.choice((0, 1, 1, 2, 2, 3, 4, 6, 9))):
        found.append(_fault(source, busy))
    return found


def _fault(source: Random, busy: list[float]) -> Fault:
    """Mostly just after a request, when there is something to break; short, or longer than every patience."""
    near = min(source.choice(busy) + source.expovariate(1.0), REQUESTS_UNTIL)
    at = round(near if source.random() < 0.7 else source.uniform(0, REQUESTS_UNTIL), 3)
    longest = FAULTS_UNTIL - at
    lasts = source.expovariate(0.5) + 0.05 if source.random() < 0.5 else source.uniform(4.0, longest)
    lasts = round(min(lasts, longest), 3)
    kind = source.choices(
        (*_KINDS,),
        (*_KINDS.values(),),
    )[0]
    if kind == "kill":
        target = source.choice((*PROCESSES, *HOSTS))
        return Fault(at=at, lasts=lasts, kind=kind, target=target, turns=int(source.expovariate(1 / 25)))
    if kind == "restart":
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice(PROCESSES))
    if kind == "partition":
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice((*HOSTS, *HOSTS, *CONTROL)))
    if kind == "sick":
        verbs = tuple(source.sample(_VERBS, source.randint(1, 3)))
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice(HOSTS), verbs=verbs)
    if kind == "slow":
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice(HOSTS), turns=source.randint(1, 15))
    if kind == "guest":
        return Fault(at=at, lasts=0.0, kind=kind, target=source.choice(HOSTS))
    if kind in ("stuck", "forced"):
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice(HOSTS))
    if kind == "blind":
        return Fault(at=at, lasts=lasts, kind=kind, target=source.choice(CONTROL))
    if kind == "jump":
        target = source.choice(PROCESSES)
        tenths = source.randint(-600, 600) if target in HOSTS else source.randint(-20, 20)
        return Fault(at=at, lasts=0.0, kind=kind, target=target, turns=tenths)
    return _weather(source) if kind == "weather" else Fault(at=at, lasts=lasts, kind=kind)


_KINDS = {
    "kill": 10.0,
    "partition": 3.0,
    "broker": 1.5,
    "database": 1.5,
    "sick": 2.0,
    "slow": 2.0,
    "weather": 2.0,
    "guest": 1.0,
    "restart": 1.0,
    "stuck": 1.0,
    "blind": 2.0,
    "forced": 1.0,
    "jump": 1.0,
}
"""How often each sort of misfortune is drawn, against the others."""

_MISFORTUNES = {
    "bus.loss": 0.2,
    "bus.duplicate": 0.3,
    "bus.delay": 0.3,
    "bus.refused": 0.1,
    "bus.unconfirmed": 0.2,
    "bus.answer-lost": 0.2,
    "db.refused": 0.1,
    "db.slow": 0.1,
    "db.answer-slow": 0.1,
    "db.answer-lost": 0.15,
    "hypervisor.fault": 0.15,
    "hypervisor.slow": 0.15,
}


def _weather(source: Random) -> Fault:
    names = source.sample(sorted(_MISFORTUNES), source.randint(1, 4))
    chances = {name: round(source.uniform(0.01, _MISFORTUNES[name]), 3) for name in sorted(names)}
    at = round(source.uniform(0, 6), 3)
    return Fault(at=at, lasts=round(source.uniform(1, FAULTS_UNTIL - at), 3), kind="weather", chances=chances)
