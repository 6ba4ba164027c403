"""What ``bench.beside_nova`` works out by itself: costs, ratios, the table, and the stand-ins' answers."""

import asyncio

import pytest
from bench import closed_loop, comparison, processor_time
from bench.closed_loop import Cost, Used
from bench.nova import stand_ins


def made(**changes: float) -> Cost:
    figures = {"cpu_ms": 10.0, "cpu_ms_with_backing": 15.0, "per_second": 20.0, "median_ms": 40.0}
    return Cost(count=10, at_once=1, **{**figures, **changes})


def test_a_cost_is_what_each_piece_of_work_took() -> None:
    found = closed_loop.cost([0.1, 0.3, 0.2, 0.9], 2, 0.8, Used(1.0, 5.0), Used(1.2, 5.04))
    assert found == Cost(count=4, at_once=2, cpu_ms=50.0, cpu_ms_with_backing=60.0, per_second=5.0, median_ms=250.0)


async def test_every_piece_of_work_is_done_once_by_as_many_clients_as_wanted() -> None:
    done: list[int] = []
    busy = most = 0

    async def work(number: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        done.append(number)
        busy -= 1

    found = await closed_loop.run(work, 20, 3, lambda: Used(float(len(done)), 0.0))
    assert sorted(done) == list(range(20))
    assert most == 3
    assert (found.count, found.at_once, found.cpu_ms) == (20, 3, 1000.0)


async def test_work_that_fails_ends_the_measurement() -> None:
    async def work(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(ExceptionGroup):
        await closed_loop.run(work, 2, 1, lambda: Used(0.0, 0.0))


@pytest.mark.parametrize(
    ("theirs", "ours", "more_is_better", "said"),
    [
        (400.0, 20.0, False, "20x"),
        (30.0, 20.0, False, "1.5x"),
        (20.0, 40.0, False, "0.5x"),
        (2.0, 50.0, True, "25x"),
        (50.0, 25.0, True, "0.5x"),
        (400.0, 0.0, False, "-"),
    ],
)
def test_a_ratio_says_by_how_much_ours_is_better(theirs: float, ours: float, more_is_better: bool, said: str) -> None:
    assert comparison.ratio(theirs, ours, more_is_better=more_is_better) == said


def test_processor_time_comes_before_the_walls_and_what_one_side_lacks_is_left_out() -> None:
    theirs = {"servers x1": made(cpu_ms=100.0, per_second=2.0), "candidates x1": made()}
    rows = comparison.rows(theirs, {"servers x1": made()})
    assert rows == [
        ("a server, POST to ACTIVE, one client: CPU-ms, services", "100", "10", "10x"),
        ("a server, POST to ACTIVE, one client: CPU-ms, and their backing", "15", "15", "1.0x"),
        ("a server, POST to ACTIVE, one client: p50, ms", "40", "40", "1.0x"),
        ("a server, POST to ACTIVE, one client: per second", "2", "20", "10x"),
    ]


def test_the_table_is_aligned() -> None:
    assert comparison.table(("work", "a"), [("x", "100"), ("longer", "2")]).splitlines() == [
        "| work   |   a |",
        "|--------|----:|",
        "| x      | 100 |",
        "| longer |   2 |",
    ]


def test_processor_time_is_read_from_a_process_whose_name_has_brackets() -> None:
    stat = "77 (odd) name) S 1 60 55 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 1 0 100 0 0"
    session, seconds = processor_time.parse(stat)
    assert session == 55
    assert seconds == pytest.approx(200 / processor_time._TICKS)


def test_the_stand_ins_know_what_nova_asks_for_and_nothing_else() -> None:
    status, image = stand_ins.answer(f"/image/v2/images/{stand_ins.IMAGE_ID}", 9292)
    assert (status, dict(image)["status"]) == (200, "active")  # type: ignore[call-overload]
    assert stand_ins.answer("/network/v2.0/ports?device_id=x", 9292) == (200, {"ports": []})
    assert stand_ins.answer("/network/v2.0/security-groups", 9292) == (200, {"security_groups": []})
    assert stand_ins.answer("/network/v2.0/routers", 9292)[0] == 404
    assert stand_ins.answer("/image", 9292)[0] == 300
