"""What the suites expect and no Nova of this release without volumes would fulfil: no verdict, and told as a reason to skip."""

import re
from dataclasses import dataclass, replace

from tests.conformance.outcomes import Outcome


@dataclass(frozen=True)
class Gap:
    """``tests`` and ``failure`` are patterns of ids and of what is said; anything else that fails has failed.

    ``since`` is the lowest base microversion (2.``since``) of a sweep in which it shows.
    """

    tests: str
    failure: str
    reason: str
    since: int = 1


GAPS = (
    Gap(
        since=88,
        tests=r"^tempest\..*(\.test_hypervisor|\.test_aggregates\.)",
        failure=r"\('uptime' was unexpected\)",
        reason="Tempest knows hypervisors as they were up to 2.87: what Nova shows from 2.88 on fails its schema",
    ),
    Gap(
        since=88,
        tests=r"^tempest\..*\.test_hypervisor\w*\..*\.test_get_hypervisor_(stats|uptime)",
        failure=r"'code': 404",
        reason="Tempest asks for a hypervisor's statistics and uptime by themselves, which Nova has only up to 2.87",
    ),
    Gap(
        since=92,
        tests=r"^tempest\..*\.test_keypairs_v22\.",
        failure=r'"public_key" is a required property',
        reason="Tempest has a key pair made without a public key, which Nova does up to 2.91",
    ),
    Gap(
        since=100,
        tests=r"^tempest\..*\.test_server_tags\.",
        failure=r"'tempest\.lib\.api_schema\.response\.compute\.v2_\d+\.servers' has no attribute",
        reason="Tempest's schemas of servers from 2.100 on lack those of tags, which its client asks them for",
    ),
    Gap(
        since=102,
        tests=r"^tempest\..*\.test_flavors",
        failure=r"'rxtx_factor'",
        reason="Tempest gives flavors an rxtx_factor, which Nova has up to 2.101",
    ),
    Gap(
        tests=r"^(openstack|novaclient|openstackclient)\.",
        failure=r"Service 'block-storage' is disabled|there is no volume service in this cloud",
        reason="the test or its clean-up needs volumes, and there is no block-storage service",
    ),
)


DECIDED = {
    "TestServersResize.test_resize_down_revert": "a resized server is charged with the larger of both flavors until it is "
    "confirmed, so that no quota can stand in the way back (decision 0005)",
}
"""Failures that are meant, by class and test: they stay failures, and the report says why."""


def excused(outcome: Outcome, base: str = "2.1") -> Outcome:
    """A failure that says nothing about us, as skipped with the reason; every other outcome as it is."""
    for gap in GAPS:
        concerned = outcome.state == "failed" and int(base.split(".")[1]) >= gap.since
        if (
            concerned
            and re.search(gap.tests, outcome.test)
            and re.search(gap.failure, outcome.reason + outcome.details)
        ):
            return replace(outcome, state="skipped", reason=gap.reason)
    return outcome
