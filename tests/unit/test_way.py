"""A request's way, told from its events."""

from kilonova.messaging.contract import TimelineEvent
from kilonova.telemetry import way


def event(
    name: str, start: int, end: int, host: str = "h1", result: str = "Success", **details: object
) -> TimelineEvent:
    return TimelineEvent(
        name=name,
        service=way.service_of(name),
        host=host,
        started_at=start,
        finished_at=end,
        result=result,
        details=details,
    )


CREATE = [
    event("api.request", 0, 3_000, method="POST"),
    event("message.schedule", 3_100, 3_500, queue="scheduler"),
    event("schedule", 3_500, 5_000, considered=2, chosen="h1"),
    event("message.build", 5_200, 5_600, queue="compute.h1"),
    event("lease", 5_700, 6_000),
    event("build.disk", 6_000, 90_000),
    event("build.process", 90_000, 100_000),
    event("message.finish", 100_100, 100_300, queue="conductor"),
    event("conductor.record", 100_300, 100_400),
]


def test_a_create_has_the_six_steps_of_the_picture() -> None:
    legs = way.legs(CREATE)
    assert [(leg.number, leg.service) for leg in legs] == [
        (1, "nova-api"),
        (2, "messaging"),
        (3, "nova-scheduler"),
        (4, "messaging"),
        (5, "nova-compute"),
        (6, "nova-conductor"),
    ]
    assert [leg.milliseconds for leg in legs] == [3.0, 0.4, 1.5, 0.4, 94.3, 0.3]
    assert legs[2].doing == "weighed 2 hosts, claimed h1"
    assert way.total_milliseconds(legs) == 100.4


def test_the_order_the_events_come_in_does_not_matter() -> None:
    assert way.legs(CREATE[::-1]) == way.legs(CREATE)


def test_a_build_that_is_tried_on_a_second_host_has_more_steps_and_shows_the_failure() -> None:
    events = [
        *CREATE[:5],
        event("build.disk", 6_000, 7_000, result="Error"),
        event("message.fail", 7_100, 7_200),
        event("message.schedule", 7_300, 7_400, queue="scheduler"),
        event("schedule", 7_400, 7_500, considered=2, chosen="h2"),
        event("message.build", 7_600, 7_700, host="h2", queue="compute.h2"),
        event("build.disk", 7_800, 8_000, host="h2"),
        event("message.finish", 8_100, 8_200),
    ]
    legs = way.legs(events)
    assert [leg.service for leg in legs][4:] == [
        "nova-compute",
        "nova-conductor",
        "messaging",
        "nova-scheduler",
        "messaging",
        "nova-compute",
        "nova-conductor",
    ]
    assert (legs[4].result, legs[4].host) == ("Error", "h1")
    assert (legs[9].result, legs[9].host) == ("Success", "h2")


def test_no_host_fits() -> None:
    legs = way.legs([*CREATE[:2], event("schedule", 3_500, 5_000, result="Error", considered=3, chosen=None)])
    assert legs[-1].doing == "weighed 3 hosts, none fits"


def test_a_request_without_events_has_no_way() -> None:
    assert way.legs([]) == []
    assert way.total_milliseconds([]) == 0.0
