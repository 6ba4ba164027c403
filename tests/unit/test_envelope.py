"""What travels around a message, there and back."""

import msgspec
import pytest

from kilonova.messaging.bus import RemoteFailure
from kilonova.messaging.contract import Ping, Verdict
from kilonova.messaging.envelope import answer_error, answer_with, open_answer, seal, unseal
from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import Conflict, KilonovaError, QuotaExceeded

CONTEXT = RequestContext(request_id="req-1", caller=Caller(user_id="u", project_id=None, roles=frozenset({"admin"})))


def test_sealed_message_comes_out_as_it_went_in() -> None:
    envelope = unseal(seal(Ping(text="ä\n"), CONTEXT, 17))
    assert (envelope.open(), envelope.context, envelope.sent_at) == (Ping(text="ä\n"), CONTEXT, 17)


def test_fields_of_a_later_release_are_ignored() -> None:
    body = (
        b'{"context":{"request_id":"r","mood":1},"sent_at":1,"message":{"type":"Ping","text":"x","new":2},"more":3}'
    )
    assert unseal(body).open() == Ping(text="x")


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"context":{"request_id":"r"},"sent_at":1}'])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unseal(body)


def test_answer_comes_out_as_it_went_in() -> None:
    assert open_answer(answer_with(Verdict(accepted=False, reason="r"))) == Verdict(accepted=False, reason="r")


def test_error_of_a_class_the_receiver_does_not_know_becomes_the_next_it_does() -> None:
    class Unheard(Conflict):
        def __init__(self, server: str, count: int) -> None:
            super().__init__(f"{server} is busy", details="d")
            self.server = server
            self.count = count
            self.unsendable = object()

    body = answer_error(Unheard("web", 3)).replace(b"Unheard", b"FromTheFuture")
    with pytest.raises(Conflict, match="web is busy") as caught:
        open_answer(body)
    assert type(caught.value) is Conflict
    assert (caught.value.details, vars(caught.value)["count"], caught.value.status) == ("d", 3, 409)


def test_subclass_crosses_as_itself() -> None:
    with pytest.raises(QuotaExceeded) as caught:
        open_answer(answer_error(QuotaExceeded("Too many cores")))
    assert (str(caught.value), caught.value.message, caught.value.details) == ("Too many cores",) * 2 + ("",)


def test_entirely_unknown_error_is_the_root() -> None:
    with pytest.raises(KilonovaError, match="without a reason") as caught:
        open_answer(b'{"error":["Nonsense"]}')
    assert type(caught.value) is KilonovaError


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":{"type":"Nonsense"}}'])
def test_unreadable_answer_is_a_remote_failure(body: bytes) -> None:
    with pytest.raises(RemoteFailure, match="cannot be read"):
        open_answer(body)
