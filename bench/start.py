"""How long nova-all-in-one takes from process start to its first answer, and what it holds when idle.

    python -m bench.start [--runs 5] [--json]

The first run makes the database; the others find it, as every later start does.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bench.cloud import Cloud, free_port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="kn-bench-"))
    seconds: list[float] = []
    cpu: list[float] = []
    memory = 0.0
    try:
        for _ in range(options.runs + 1):
            cloud = Cloud(directory, free_port())
            cloud.spawn("nova-all-in-one", "nova-all-in-one")
            seconds.append(cloud.wait())
            cpu.append(cloud.cpu())
            time.sleep(2.0)  # until it is idle
            memory = cloud.resident_mb()
            cloud.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    result = {
        "first_start_s": round(seconds[0], 2),
        "start_s": round(statistics.median(seconds[1:]), 2),
        "start_cpu_s": round(statistics.median(cpu[1:]), 2),
        "idle_resident_mb": round(memory, 1),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print("nova-all-in-one  " + "  ".join(f"{key} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
