"""A cluster of several nodes on this machine, in a process of its own; a test talks to it by :class:`Nodes`."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.conftest import ROOT

STORE_BYTES = 150 * 2**20


class Nodes:
    """The cluster as a test sees it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = str(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the cluster's process has ended")

    def _ask(self, *words: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def add(self, num_cpus: float, **resources: float) -> int:
        """Adds a node; returns its number."""
        return int(self._ask("add", num_cpus, resources))

    def remove(self, number: int) -> None:
        """Takes a node away, with all that runs on it."""
        self._ask("remove", number)


@contextlib.contextmanager
def started(head_cpus: float, *nodes: dict[str, float]) -> Iterator[Nodes]:
    """A head and more nodes, each with ``num_cpus`` and its other resources."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.nodes", str(head_cpus)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        cluster = Nodes(process)
        for node in nodes:
            cluster.add(**node)
        yield cluster
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        finally:
            process.kill()


def main() -> None:
    """Serves requests from standard input until it is closed."""
    from ray.cluster_utils import Cluster

    def answer(value: Any) -> None:
        print("answer " + json.dumps(value), flush=True)

    head = {"num_cpus": float(sys.argv[1]), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.head_node]
    answer(cluster.address)
    for line in sys.stdin:
        what, *words = json.loads(line)
        if what == "add":
            cpus, resources = words
            nodes.append(cluster.add_node(num_cpus=cpus, resources=resources, object_store_memory=STORE_BYTES))
            answer(len(nodes) - 1)
        else:
            cluster.remove_node(nodes[words[0]], allow_graceful=False)
            answer(True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
