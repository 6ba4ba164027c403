"""Filters that look at hosts one by one are asked last, and only about hosts that no other filter drops."""

import numpy as np
import pytest

from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.guest import GuestSpec
from kilonova.scheduler.nearest import nearest
from kilonova.scheduler.ranking import Ranking
from kilonova.scheduler.view import Bools, Columns, HostView, Records

NAMES = ["a", "b", "c", "d"]


class Cheap:
    """Drops hosts by name."""

    def __init__(self, *drops: str) -> None:
        self.drops = drops

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return np.array([name not in self.drops for name in view.names], dtype=np.bool_)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "another", view.names[row]


class Costly(Cheap):
    """The same, and remembers whom it was asked about."""

    def __init__(self, *drops: str, concerned: bool = True) -> None:
        super().__init__(*drops)
        self.concerned = concerned
        self.asked: list[list[str]] = []

    def concerns(self, request: ScheduleServer) -> bool:
        return self.concerned

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        self.asked.append(list(view.names))
        return super().passes(view, request)


@pytest.fixture
def request_() -> ScheduleServer:
    spec = GuestSpec(
        server_id="s", name="s", hostname="s", project_id="p", user_id="u", vcpus=1, memory_mb=1, disk_gb=1
    )
    return ScheduleServer(action_id="a", epoch=0, guest=spec, need=Need(vcpus=1, memory_mb=1, disk_gb=1))


def view() -> HostView:
    return HostView(NAMES, Columns.empty(len(NAMES)), Records())


def test_they_see_what_the_others_leave(request_: ScheduleServer) -> None:
    costly = Costly("b")
    ranking = Ranking(view(), request_, {"Costly": costly, "Cheap": Cheap("a")}, {})
    assert costly.asked == [["b", "c", "d"]]
    assert ranking.dropped_by() == {"Costly": 1, "Cheap": 1} and ranking.fits == 2
    ranking.judge_again([0, 2])
    assert costly.asked[1:] == [["c"]]


def test_they_are_not_asked_about_what_does_not_concern_them(request_: ScheduleServer) -> None:
    costly = Costly(*NAMES, concerned=False)
    ranking = Ranking(view(), request_, {"Costly": costly, "Cheap": Cheap()}, {})
    assert ranking.fits == 4 and costly.asked == [] and ranking.fails() == {}


def test_the_nearest_fit_is_among_the_hosts_that_fewest_others_drop(request_: ScheduleServer) -> None:
    filters = {"One": Cheap("a", "b"), "Two": Cheap("a"), "Costly": Costly("c", "d", "b")}
    ranking = Ranking(view(), request_, filters, {})
    fails = ranking.fails()
    assert [list(fails[name]) for name in ("One", "Costly")] == [[True, True, False, False], [True, True, True, True]]
    assert filters["Costly"].asked[-1] == ["c", "d"]  # type: ignore[attr-defined]
    assert {host for near in nearest(ranking, filters) for host in [near.host]} <= {"c", "d"}
