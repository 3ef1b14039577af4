"""Whether pools of actors fit side by side on the nodes of a cluster."""

from collections.abc import Mapping, Sequence

from routelmt_ray.config.common import PoolConfig

ACCELERATOR = "accelerator_type:"
"""Ray's name of the resource every node with such a GPU has."""
_ACCELERATOR_SHARE = 0.001
"""What a worker with an `accelerator_type` takes of it."""
_SPARE_CPUS = 1.0
"""CPUs that are left for reading and writing, on whatever node."""


def request(pool: PoolConfig) -> dict[str, float]:
    """What one actor of a pool reserves, by Ray's names."""
    wanted = {"CPU": pool.cpus, "GPU": pool.gpus, **pool.resources}
    if pool.accelerator_type:
        wanted[ACCELERATOR + pool.accelerator_type] = _ACCELERATOR_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def words(resources: Mapping[str, float]) -> str:
    """Tells resources in words: the CPUs, the GPUs, and those that a node was given by name."""
    known = {
        name: amount for name, amount in resources.items() if not name.startswith(("node:", "memory", "object_store"))
    }
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(known.items())) or "nothing"


def hopeless(pool: PoolConfig, nodes: Sequence[Mapping[str, float]]) -> bool:
    """True where no node has all that one actor of a pool reserves, even with nothing else on it.

    Args:
        pool: the pool.
        nodes: what each node has in all, by Ray's names.
    """
    wanted = request(pool)
    return not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes)


def fit(pools: Sequence[PoolConfig], nodes: Sequence[Mapping[str, float]]) -> bool:
    """True where all actors of all pools find room at once.

    The largest go first, each to the first node that has room, which may miss a packing that exists; the pools then take
    turns, which is right if slower.

    Args:
        pools: the pools.
        nodes: what each node has in all, by Ray's names.
    """
    room = [dict(node) for node in nodes]
    actors = [(request(pool), pool.actors) for pool in pools]
    # Those that need what is rare go first, then the ones with most GPUs and CPUs.
    for wanted, number in sorted(
        actors, key=lambda actor: [-len(actor[0]), *(-actor[0].get(n, 0) for n in ("GPU", "CPU"))]
    ):
        for _ in range(number):
            node = next((n for n in room if all(n.get(name, 0) >= amount for name, amount in wanted.items())), None)
            if node is None:
                return False
            for name, amount in wanted.items():
                node[name] -= amount
    return sum(node.get("CPU", 0) for node in room) >= _SPARE_CPUS
