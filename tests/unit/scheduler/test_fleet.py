"""The fleet as it reads what a database says that goes on meanwhile."""

import msgspec

from kilonova.scheduler.fleet import Fleet
from tests.unit.scheduler.fleets import Host, reading_of


def test_a_host_that_comes_during_a_look_comes_with_the_next_one() -> None:
    """Each statement of a look sees what was committed when it began: its facts are there, its usage was not."""
    before, after = reading_of([Host(name="a")]), reading_of([Host(name="a"), Host(name="b")])
    fleet = Fleet()
    assert fleet.apply(msgspec.structs.replace(after, usage=before.usage))
    assert list(fleet.view.names) == ["a"] and fleet.beyond == 1
    assert fleet.apply(after)
    assert list(fleet.view.names) == ["a", "b"]
