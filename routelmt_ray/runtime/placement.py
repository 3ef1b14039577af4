"""Decides whether pools of actors fit on the nodes of a cluster at the same time."""

from collections.abc import Mapping, Sequence

from routelmt_ray.config.common import PoolConfig

ACCELERATOR = "accelerator_type:"
"""Start of the name that Ray gives to the resource of a GPU type."""
_ACCELERATOR_SHARE = 0.001
"""Amount of that resource that a worker with an `accelerator_type` reserves."""
TASK_CPUS = 0.5001
"""Logical CPUs of a task that reads, tokenises or writes: half of the time it waits for a disk or a queue. The value is
unusual on purpose. Ray Data fuses neighbouring stages that reserve the same, and a tokeniser fused into the actor of an
engine would keep its GPU waiting."""
_SPARE_CPUS = 1.0
"""CPUs that must stay free for reading and writing, on all nodes together."""
_ROUNDING = 1e-9
"""Divisions of resources may be too small by this."""


def request(pool: PoolConfig) -> dict[str, float]:
    """Lists the resources that one actor of a pool reserves, by the names Ray uses."""
    wanted = {"CPU": pool.cpus, "GPU": pool.gpus, **pool.resources}
    if pool.accelerator_type:
        wanted[ACCELERATOR + pool.accelerator_type] = _ACCELERATOR_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def words(resources: Mapping[str, float]) -> str:
    """Puts resources into words: CPUs, GPUs, and the resources that were given to a node by name."""
    known = {
        name: amount for name, amount in resources.items() if not name.startswith(("node:", "memory", "object_store"))
    }
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(known.items())) or "nothing"


def can_never_fit(pool: PoolConfig, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether an actor of a pool can never start: no node has all that it reserves, even when the node is empty.
    `nodes` has the total resources of each node, by the names Ray uses."""
    return not any(_has(node, request(pool)) for node in nodes)


def _has(node: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in wanted.items())


def starves_tasks(pool: PoolConfig, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether the actors of a pool take the last CPU that tasks need, wherever they are placed: the job would then
    wait for ever. The pool must be one of which an actor can start; actors that find no room do not count."""
    rooms = [_room(pool, node) for node in nodes]

    def left(number: int) -> float:
        """Computes the CPUs that are left on a node if the others take all the actors that they can."""
        here = min(rooms[number], pool.actors - min(pool.actors, sum(rooms) - rooms[number]))
        return nodes[number].get("CPU", 0) - pool.cpus * here

    return all(left(number) < TASK_CPUS for number in range(len(nodes)))


def _room(pool: PoolConfig, node: Mapping[str, float]) -> int:
    """Counts the actors of a pool that fit on an empty node."""
    shares = (node.get(name, 0) / amount for name, amount in request(pool).items())
    return min([pool.actors, *(int(share + _ROUNDING) for share in shares)])


def fit(pools: Sequence[PoolConfig], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether all actors of all pools fit at the same time, with one CPU to spare, of which a task fits on one node.

    The largest actors are placed first, each on the first node with room. This may miss a placement that exists. The
    pools then run one after the other, which is slower but correct.
    """
    room = [dict(node) for node in nodes]
    actors = [(request(pool), pool.actors) for pool in pools]
    # Actors that need the most kinds of resources go first, as those are rare; then those with the most GPUs and CPUs.
    for wanted, number in sorted(
        actors, key=lambda actor: [-len(actor[0]), *(-actor[0].get(n, 0) for n in ("GPU", "CPU"))]
    ):
        for _ in range(number):
            node = next((n for n in room if _has(n, wanted)), None)
            if node is None:
                return False
            for name, amount in wanted.items():
                node[name] -= amount
    left = [node.get("CPU", 0) for node in room]
    return sum(left) >= _SPARE_CPUS and max(left, default=0.0) >= TASK_CPUS
