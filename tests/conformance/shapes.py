"""Nova's idea of each request's shape against ours: requests made out of Nova's schemas, sent to the judged cloud.

Whether the answers are right is not decided here: the tap records them, and the oracle judges the recording.
"""

import json
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.conformance.judged_cloud import ROOT, JudgedCloud, judges

AT_ONCE = 2


def run(cloud: JudgedCloud, only: str | None = None) -> dict[int, int]:
    """Send them all; how many answers of each status came back."""
    command = [str(judges() / "bin" / "python"), "-W", "ignore", "-m", "tests.conformance.oracle", "requests"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    requests = [json.loads(line) for line in lines]
    chosen = [one for one in requests if only is None or only in f"{one['method']} {one['path']} {one['body']}"]
    headers = {"x-auth-token": cloud.token, "content-type": "application/json"}
    with (
        httpx.Client(base_url=f"{cloud.url}/compute", headers=headers, timeout=60.0, trust_env=False) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def send(one: dict[str, object]) -> int:
            content = None if one["body"] is None else json.dumps(one["body"])
            version = {"openstack-api-version": f"compute 2.{one['version']}"}
            return http.request(str(one["method"]), str(one["path"]), content=content, headers=version).status_code

        return dict(Counter(pool.map(send, chosen)))
