"""A Ray cluster of several nodes on this machine, each with a raylet of its own, as a process.

`python -m tests.flows.support.ray_cluster NODES` prints the address and the raylets' process ids,
the head's first, as JSON; it ends when its standard input closes.
"""

import json
import sys

from ray.cluster_utils import Cluster

HEAD = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    nodes = [cluster.head_node, *(cluster.add_node(**NODE) for _ in range(int(sys.argv[1])))]
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
