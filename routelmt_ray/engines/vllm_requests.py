"""Sends requests to the engine of vLLM. Any number of threads may call it at once, and each call waits for its answers.

The model runs in separate processes. One thread of this process sends them the requests of all callers and takes the
answers; the offline interface of vLLM does this for one caller. When several shards are in flight, the last rows of one
run together with the first rows of the next.
"""

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

from vllm.engine.arg_utils import EngineArgs
from vllm.inputs import tokens_input
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.llm_engine import LLMEngine

from routelmt_ray.engines import EngineDead

Request = tuple[Sequence[int], SamplingParams | PoolingParams]
"""Token ids of a prompt, and the parameters of its answer."""


class _Call:
    """The requests of one caller, and the answers so far."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.answers: list[Any] = [None] * len(requests)
        self._left = len(requests)
        self.over = threading.Event()
        """Set when all requests are answered, or no more answers will come."""

    def answer(self, number: int, answer: Any) -> None:
        self.answers[number] = answer
        self._left -= 1
        if not self._left:
            self.over.set()


class Requests:
    """One engine, and the threads that serve and watch it."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Starts the engine. Args: arguments: those of ``EngineArgs``."""
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments), enable_multiprocessing=True)
        # Twice the running number: the next request is ready when one ends, and a shard does not fill long queues.
        self._room = 2 * arguments["max_num_seqs"]
        self._waiting: deque[tuple[_Call, int]] = deque()
        self._running: dict[str, tuple[_Call, int]] = {}
        self._news = threading.Condition()
        self._end: Exception | None = None
        for work in (self._serve, self._watch):
            threading.Thread(target=work, daemon=True, name="vllm requests").start()

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Runs requests; returns the final outputs of vLLM in order. A failed request has an exception as its output.
        Raises EngineDead if the engine cannot continue."""
        call = _Call(requests)
        with self._news:
            if requests and self._end is None:
                self._waiting.extend((call, number) for number in range(len(requests)))
                self._news.notify()
            else:
                call.over.set()
        call.over.wait()
        if self._end is not None:
            raise EngineDead("vLLM's engine died; its own messages say why") from self._end
        return call.answers

    def _serve(self) -> None:
        names = map(str, itertools.count())
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._waiting or self._running)
                    room = self._room - len(self._running)
                    due = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
                for call, number in due:
                    self._submit(call, number, next(names))
                if self._running:
                    for output in self._engine.step():
                        call, number = self._running.pop(output.request_id)
                        call.answer(number, output)
        except Exception as error:
            with self._news:
                self._end = error
                for call, _ in [*due, *self._running.values(), *self._waiting]:
                    call.over.set()

    def _submit(self, call: _Call, number: int, name: str) -> None:
        ids, params = call.requests[number]
        try:
            self._engine.add_request(name, tokens_input(list(ids)), params)
        except EngineDeadError:
            raise
        except Exception as refusal:
            call.answer(number, refusal)
        else:
            self._running[name] = call, number

    def _watch(self) -> None:
        # This client of vLLM does not report that a process was killed: callers would wait for its answers forever.
        client = self._engine.engine_core
        connection.wait(client.resources.engine_manager.sentinels())
        client.outputs_queue.put(EngineDeadError())

    def close(self) -> None:
        """Ends the processes of the engine. No request may follow."""
        self._engine.engine_core.shutdown()
