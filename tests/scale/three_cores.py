"""A Ray cluster on this machine that believes in three cores: `python -m tests.scale.three_cores`.

Prints its address, and lasts until its standard input ends.
"""

import os
import sys

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for: the loopback interface alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

CORES = 3
STORE_BYTES = 80 * 1024 * 1024

if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=CORES,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level="ERROR",
    )
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()
