"""Tickets: the right to fetch or to upload one image for a while, as a signature in the URL.

A compute host holds no credentials of users; what it is told to boot comes with a ticket for exactly that image. A
ticket is ``<end>.<signature>``: seconds since the epoch and the HMAC-SHA256 of image id and end, in hex.
"""

import hashlib
import hmac


def upload_of(image_id: str) -> str:
    """What a ticket for an upload is signed for; one for a download does not open it."""
    return f"upload of {image_id}"


class Tickets:
    """Signs and checks with one key that all API processes share."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, image_id: str, ends_at: int) -> str:
        """A ticket that is good until ``ends_at`` (seconds)."""
        return f"{ends_at}.{self._signature(image_id, str(ends_at))}"

    def admits(self, ticket: str, image_id: str, now: int) -> bool:
        """Whether it is ours, for this image, and not over (``now`` in seconds)."""
        ends_at, _, signature = ticket.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(image_id, ends_at).encode()):
            return False
        return now < int(ends_at)  # signed by us, so it is a number

    def _signature(self, image_id: str, ends_at: str) -> str:
        return hmac.new(self._key, f"{image_id}.{ends_at}".encode(), hashlib.sha256).hexdigest()
