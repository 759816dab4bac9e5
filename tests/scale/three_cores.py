"""A Ray cluster on this machine that believes in three cores: `python -m tests.scale.three_cores`.

Prints its address, and lasts until its standard input ends.
"""

import sys

import ray

from tests.scale.local_ray import local_ray

CORES = 3

if __name__ == "__main__":
    with local_ray(CORES):
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
