"""What travels around a message: its context and times on the way there, the outcome on the way back.

Everything is in the body, nothing in the broker's headers: one JSON document, the same on every bus, that a
recorded message carries with it into ``tests/upgrade``.
"""

from typing import Any

import msgspec

from kilonova.messaging import contract
from kilonova.messaging.bus import RemoteFailure
from kilonova.messaging.contract import Message
from kilonova.model.context import RequestContext
from kilonova.model.errors import KilonovaError


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way. ``message`` is still encoded; ``sent_at`` is the sender's clock, in microseconds."""

    context: RequestContext
    sent_at: int
    message: msgspec.Raw
    version: int = contract.CONTRACT_VERSION

    def open(self) -> Message:
        """The message. Raises ``msgspec.MsgspecError`` if this release does not know it."""
        return contract.decode(bytes(self.message))


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of a call: a message, or the error that its handler raised.

    ``error`` names the error's classes, most special first: a receiver that does not know the first takes the
    next. ``fields`` are its attributes, as far as they are plain values.
    """

    message: msgspec.Raw = msgspec.Raw()
    error: list[str] = []
    fields: dict[str, Any] = {}

    def open(self) -> Message:
        """The message, or its error raised here again."""
        if self.error:
            raise _revive(self.error, self.fields)
        return contract.decode(bytes(self.message))


_encoder = msgspec.json.Encoder()
_envelopes = msgspec.json.Decoder(Envelope)
_answers = msgspec.json.Decoder(Answer)


def seal(message: Message, context: RequestContext, sent_at: int) -> bytes:
    """The body of a message on its way."""
    return _encoder.encode(Envelope(context=context, sent_at=sent_at, message=msgspec.Raw(contract.encode(message))))


def unseal(body: bytes) -> Envelope:
    """Raises ``msgspec.MsgspecError`` if ``body`` is none of ours."""
    return _envelopes.decode(body)


def answer_with(message: Message) -> bytes:
    """The body of a good answer."""
    return _encoder.encode(Answer(message=msgspec.Raw(contract.encode(message))))


def answer_error(error: KilonovaError) -> bytes:
    """The body of an answer that raises ``error`` at the caller's."""
    names = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, KilonovaError)]
    fields = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
    return _encoder.encode(Answer(error=names, fields=fields))


def open_answer(body: bytes) -> Message:
    """The message in an answer. Raises the error in it, or ``RemoteFailure`` if it cannot be read."""
    try:
        answer = _answers.decode(body)
        return answer.open()
    except msgspec.MsgspecError as error:
        raise RemoteFailure("The answer cannot be read; do both sides run releases that go together?") from error


def _revive(names: list[str], fields: dict[str, Any]) -> KilonovaError:
    known = _known_errors(KilonovaError)
    kind = next((known[name] for name in names if name in known), KilonovaError)
    message = str(fields.get("message", "The other side refused without a reason"))
    # Not by its constructor: each class may have its own, and none has to be called for a copy.
    error = kind.__new__(kind, message)
    error.__dict__.update({"details": "", **fields, "message": message})
    return error


def _known_errors(root: type[KilonovaError]) -> dict[str, type[KilonovaError]]:
    known = {root.__name__: root}
    for kind in root.__subclasses__():
        for name, found in _known_errors(kind).items():
            known.setdefault(name, found)
    return known
