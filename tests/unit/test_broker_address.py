"""messaging.url: one or several nodes, and never its password in a text."""

import pytest

from kilonova.messaging.broker_link import BrokerAddress, queue_arguments
from kilonova.messaging.bus import DEAD_LETTER
from kilonova.messaging.settings import BusSettings, doubled
from kilonova.model.errors import Misconfigured

SETTINGS = BusSettings(heartbeat=7, name="nova-api")


def test_nodes_of_a_cluster_are_tried_in_turn() -> None:
    address = BrokerAddress("amqps://u:p%40w@one:5671,two,[::1]:5671/cloud?cafile=/ca.pem")
    assert str(address) == "one:5671, two, [::1]:5671"
    tail = "/cloud?cafile=/ca.pem&heartbeat=7&name=nova-api"
    assert [address.url(number, SETTINGS) for number in range(4)] == [
        f"amqps://u:p%40w@one:5671{tail}",
        f"amqps://u:p%40w@two{tail}",
        f"amqps://u:p%40w@[::1]:5671{tail}",
        f"amqps://u:p%40w@one:5671{tail}",
    ]


def test_shortest_form() -> None:
    assert BrokerAddress("amqp://localhost").url(0, SETTINGS) == "amqp://localhost/?heartbeat=7&name=nova-api"


def test_password_is_taken_out_of_texts_in_both_of_its_forms() -> None:
    address = BrokerAddress("amqp://user:se%2Fcret@host/")
    assert address.redacted("cannot reach amqp://user:se%2Fcret@host, se/cret") == (
        "cannot reach amqp://user:***@host, ***"
    )
    assert "cret" not in str(address) + repr(address)
    assert BrokerAddress("amqp://host/").redacted(OSError("refused")) == "refused"


@pytest.mark.parametrize(
    "url", ["", "localhost:5672", "http://u:hush@host/", "amqp://", "amqp://u:hush@/x", "amqp://u:hush@host:port/"]
)
def test_anything_else_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"messaging\.url") as caught:
        BrokerAddress(url)
    assert "hush" not in str(caught.value)


def test_work_queues_refuse_when_full_and_dead_letters_never_die_again() -> None:
    work, dead = (queue_arguments(queue, BusSettings(delivery_limit=4)) for queue in ("conductor", DEAD_LETTER))
    assert work["x-queue-type"] == dead["x-queue-type"] == "quorum"
    assert work["x-delivery-limit"] == 3
    assert work["x-overflow"] == "reject-publish"
    assert work["x-dead-letter-routing-key"] == DEAD_LETTER
    assert not {name for name in dead if name.startswith("x-dead")}


def test_doubling_has_a_bound() -> None:
    assert [doubled(0.5, 10, times) for times in range(6)] == [0.5, 1, 2, 4, 8, 10]
    assert doubled(0.5, 10, 10_000) == 10
