"""vLLM's asynchronous engine behind a call that blocks: any number of threads may call it at once.

The engine runs in processes of its own; an event loop in a thread of this one hands it requests and takes the answers.
Where several shards are in flight, the last rows of one run beside the first ones of the next.
"""

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import tokens_input
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from routelmt_ray.engines import EngineDead

T = TypeVar("T")
Request = tuple[Sequence[int], SamplingParams | PoolingParams]
"""Token ids of a prompt, and what is wanted of it."""


class Requests:
    """One engine and its event loop."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Starts the engine. Args: those of ``AsyncEngineArgs``."""
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="vllm requests").start()
        self._engine = self._wait(self._start(AsyncEngineArgs(**arguments)))
        # As many again as run at once: the next is there when one ends, and a shard's thousands do not fill queues.
        self._room = asyncio.Semaphore(2 * arguments["max_num_seqs"])
        self._names = map(str, itertools.count())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self, arguments: AsyncEngineArgs) -> AsyncLLM:
        return AsyncLLM.from_engine_args(arguments)

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Final outputs of vLLM, in order; an exception in place of one is that request's own.

        Raises:
            EngineDead: the engine cannot go on.
        """
        return self._wait(self._all(requests))

    async def _all(self, requests: Sequence[Request]) -> list[Any]:
        results = await asyncio.gather(*itertools.starmap(self._one, requests), return_exceptions=True)
        death = next((result for result in results if isinstance(result, EngineDeadError)), None)
        if death is not None or self._engine.errored:
            raise EngineDead("vLLM's engine died; its own messages say of what") from death
        return results

    async def _one(self, ids: Sequence[int], params: SamplingParams | PoolingParams) -> Any:
        submit = self._engine.encode if isinstance(params, PoolingParams) else self._engine.generate
        async with self._room:
            return [output async for output in submit(tokens_input(list(ids)), params, next(self._names))][-1]

    def close(self) -> None:
        """Ends the engine's processes and the thread."""

        def end() -> None:
            self._engine.shutdown()
            self._loop.call_later(1, self._loop.stop)  # what it cancelled ends first

        self._loop.call_soon_threadsafe(end)
