"""Which regular expressions a name may be filtered by."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.api.compute.patterns import read_pattern
from kilonova.model.errors import Invalid


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("web", "web"),
        ("^web-[0-9]+$", "^web-[0-9]+$"),
        ("^.*-instance-[0-9]+$", "-instance-[0-9]+$"),
        (".*web.*", "web.*"),
        ("a|b", "a|b"),
        ("(web|db)-1", "(web|db)-1"),
        (r"a\+b\*c\?d\(", r"a\+b\*c\?d\("),
        ("[*+?{(]x", "[*+?{(]x"),
        ("x{2,3}", "x{2,3}"),
        ("a.*?b", "a.*?b"),
        ("", ""),
    ],
)
def test_taken(text: str, pattern: str) -> None:
    assert read_pattern(text, "name") == pattern


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "(",
        "*",
        "a**",
        "(a+)+$",
        "(a|a)*b",
        "(?i)a",
        "a*b*c*",
        "a?" * 30 + "a" * 30,
        "a{",
        "a*+",
        "a{2}{3}",
        "x" * 300,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Invalid, match="name"):
        read_pattern(text, "name")


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.text(alphabet="ab.*+?{}()[]|^$\\1,", max_size=24))
def test_what_is_taken_ends_soon(text: str) -> None:
    try:
        pattern = read_pattern(text, "name")
    except Invalid:
        return
    began = time.process_time()
    for hostile in ("a" * 255, "ab" * 127, "a" * 200 + "!"):
        re.search(pattern, hostile)
    assert time.process_time() - began < 2.0
