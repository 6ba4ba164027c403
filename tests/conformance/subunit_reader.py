"""A subunit stream in, one JSON line for each test out. Runs in the environment that has subunit."""

import json
import sys
from typing import Any

import subunit
import testtools

STATES = {
    "success": "passed",
    "fail": "failed",
    "error": "failed",
    "uxsuccess": "failed",
    "skip": "skipped",
    "xfail": "passed",
}


def report(test: dict[str, Any]) -> None:
    """A test that ended."""
    state = STATES.get(test["status"])
    if state is None:
        return
    texts = {
        name: content.as_text() for name, content in test["details"].items() if content.content_type.type == "text"
    }
    trace = next((text for name, text in texts.items() if "traceback" in name and text.strip()), "")
    reason = texts.get("reason", "") if state == "skipped" else _last_line(trace)
    begin, end = test["timestamps"]
    seconds = (end - begin).total_seconds() if begin and end else 0.0
    line = {
        "test": test["id"],
        "state": state,
        "reason": reason.strip(),
        "seconds": seconds,
        "details": trace[-4000:],
    }
    sys.stdout.write(json.dumps(line) + "\n")


def _last_line(trace: str) -> str:
    """What was raised: the last line that begins at the margin, with what follows it."""
    lines = trace.strip().splitlines()
    at = next((n for n in range(len(lines) - 1, -1, -1) if lines[n] and not lines[n].startswith((" ", "\t"))), 0)
    return " ".join(line.strip() for line in lines[at : at + 4])


if __name__ == "__main__":
    case = subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout")
    result = testtools.StreamToDict(report)
    result.startTestRun()
    case.run(result)
    result.stopTestRun()
