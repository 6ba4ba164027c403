"""The size of a guest's pages, as flavor and image ask for it."""

import re

from kilonova.model.errors import Invalid

_WORDS = ("small", "large", "any")
_SIZE = re.compile(r"(\d{1,12})(?:([kKMGT])?i?(b|bit|B))?")
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def page_size(flavor: str | None, image: str | None) -> str | int | None:
    """A word or KiB; None if nobody minds. Raises ``Invalid``: an image may narrow down what the flavor leaves open, no more."""
    if not flavor:
        if image:
            raise _forbidden(image, "<empty>")
        return None
    wanted = _parse(flavor)
    if not image:
        return wanted
    if wanted not in ("large", "any"):
        raise _forbidden(image, flavor)
    return _parse(image)


def _forbidden(asked: str, against: str) -> Invalid:
    return Invalid(f"Page size {asked[:64]} forbidden against '{against[:64]}'")


def _parse(text: str) -> str | int:
    if text in _WORDS:
        return text
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Invalid(f"Invalid memory page size '{text[:64]}'")
    number, prefix, unit = found.groups()
    kib = int(number)
    if unit is not None:
        size = kib << 10 * _POWERS.get(prefix or "", 0)
        kib = (size if unit == "B" else size // 8) // 1024
    if not 1 <= kib <= 2**31:
        raise Invalid(f"Invalid memory page size '{text[:64]}'")
    return kib
