"""Asks the servers of a model, with many requests in flight, and repeats those that fail for no fault of their own.

One thread of this process runs the requests of all callers. Each caller waits for its answers.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import EveryRowFailed, Prompt
from routelmt_ray.engines.balance import Balance, Turn
from routelmt_ray.engines.credentials import Credentials
from routelmt_ray.engines.openai_wire import Answer, Fault, FaultKind, address, answer, counted, read, request

T = TypeVar("T")

_OF_A_ROW = (FaultKind.ROW, FaultKind.FILTERED)
"""Faults of one request. The server works."""
_TRIES = {FaultKind.DOWN: 5, FaultKind.REFUSED: 5, FaultKind.OTHER_MODEL: 5, FaultKind.SLOW: 2}
"""Number of times that a request is sent to servers that answer other requests, before it counts as failed."""
_CONNECT_S = 20.0
_HARMLESS_S = 60.0
"""Most seconds for the answer to a harmless prompt, so that a server that hangs delays only one row a little."""
_KEEP_S = 4.0
"""Seconds for which an idle connection is kept. Many servers close theirs after five."""
_POLL_S, _LEAST_POLL_S = 0.25, 0.05
_FIRST_PAUSE_S = 0.5
"""Seconds after which a row is tried again the first time; each further pause is twice as long."""
_MOST_ALONE = 8
"""Most rows in succession that may fail because servers are busy for them alone. If there are more, the servers are to blame."""
USAGE = (
    "requests", "answers", "faults", "prompt_tokens", "completion_tokens", "assumed_prompt_tokens", "assumed_completion_tokens",
    "in_flight_s",
)  # fmt: skip
"""Sums that :meth:`Client.usage` returns. They include repeated requests, and tokens of answers that were not used. Assumed tokens
are those of requests whose charge is not known: in flight, without an answer, or answered without a usage. They are the
tokens of the prompt, and the most tokens that the answer may have."""
_COUNTED, _ASSUMED = USAGE[3:5], USAGE[5:7]


def _most(prompt: Prompt) -> tuple[int, int]:
    """The most tokens that a server can charge for a request, as this process counts them."""
    return len(prompt.ids), prompt.max_new_tokens


def _given_up(last: Fault, message: str) -> Fault:
    """The fault of a row that is not tried again."""
    found = Fault(last.kind, message)
    found.charged = last.charged
    return found


class EndpointDown(EveryRowFailed):
    """No server of the model works."""


class Client:
    """The servers of one engine, and the thread that asks them. It must be closed, or its process must end."""

    def __init__(self, config: EndpointConfig, credentials: Credentials, ends: Sequence[int], harmless: Prompt) -> None:
        """Args: config: the endpoint; credentials: its secrets; ends: tokens that end an answer; harmless: a prompt that every
        working server answers."""
        self._config, self._credentials, self._ends, self._harmless = config, credentials, sorted(ends), harmless
        self._balance = Balance(config.urls, min(30.0, config.patience_s / 4))
        self._usage: dict[str, float] = dict.fromkeys(USAGE, 0)
        self._in_flight: dict[float, tuple[float, Prompt]] = {}
        self._alone = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="endpoint").start()
        self._session: aiohttp.ClientSession = self._wait(self._open())
        self._free = asyncio.Semaphore(config.concurrency)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_S),
            headers=self._credentials.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def ask(self, prompts: Sequence[Prompt]) -> list[Answer | Fault]:
        """Asks for the answers to prompts; returns an answer, or the fault of the row, for each in order. Raises
        EndpointDown if no server works, and none has for `patience_s`."""
        return self._wait(self._ask(prompts))

    def ask_each(self) -> dict[str, Fault]:
        """Sends the harmless prompt to each server once; returns the faults by address."""
        return self._wait(self._ask_each())

    async def _ask_each(self) -> dict[str, Fault]:
        faults: dict[str, Fault] = {}

        async def ask(url: str) -> None:
            try:
                await self._send(url, self._harmless, _HARMLESS_S)
            except Fault as fault:
                faults[url] = fault

        await asyncio.gather(*map(ask, self._config.urls))
        return faults

    def usage(self) -> dict[str, float]:
        """Sums up what was asked for so far, at all servers: :data:`USAGE`."""
        in_flight = list(self._in_flight.values())  # first, as a request that ends meanwhile must not be missed
        found, now = dict(self._usage), time.monotonic()
        for sent, prompt in in_flight:
            found["in_flight_s"] += now - sent
            for name, tokens in zip(_ASSUMED, _most(prompt)):
                found[name] += tokens
        return found

    def close(self) -> None:
        """Closes the connections and ends the thread."""
        self._wait(self._session.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _ask(self, prompts: Sequence[Prompt]) -> list[Answer | Fault]:
        found: dict[int, Answer | Fault] = {}
        rows = iter(range(len(prompts)))

        async def work() -> None:
            for row in rows:
                found[row] = await self._row(prompts[row])

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._config.concurrency, len(prompts)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [found[row] for row in range(len(prompts))]

    async def _row(self, prompt: Prompt) -> Answer | Fault:
        """An answer, or the fault of this row alone."""
        faults: Counter[FaultKind] = Counter()
        last, charged, suspect = None, (0, 0), False
        while True:
            async with self._free:
                turn = await self._turn(last)
                fault = await self._try(turn, prompt)
                charged = charged[0] + fault.charged[0], charged[1] + fault.charged[1]
                if not isinstance(fault, Fault):
                    self._alone = 0
                    return replace(fault, charged=charged)
                fault.charged = charged
                if fault.kind in _OF_A_ROW:
                    return fault
                if suspect and fault.kind is FaultKind.BUSY:
                    return _given_up(fault, f"a server that answers others stays busy for this row: {fault}")
                suspect = await self._answers_others(turn.url, fault)
            last = turn.url
            if fault.kind is not FaultKind.BUSY:
                faults[fault.kind] += 1
                if faults[fault.kind] >= _TRIES[fault.kind]:
                    return _given_up(fault, f"{faults[fault.kind]} tries failed, the last with {fault}")
                await asyncio.sleep(random.uniform(0.5, 1.0) * self._pause_s(faults.total()))

    async def _answers_others(self, url: str, fault: Fault) -> bool:
        """Tells whether a server answers the harmless prompt that has been busy for a row, and had no answer for any
        other, for too long. Raises EndpointDown if no server works, and none has for `patience_s`."""
        balance, now, most_s = self._balance, time.monotonic(), self._config.patience_s
        if balance.down_s(now) <= most_s:
            return False
        if fault.kind is FaultKind.BUSY and balance.wait_s(now) <= most_s and self._alone < _MOST_ALONE:
            self._alone += 1
            try:
                await self._send(url, self._harmless, _HARMLESS_S)
            except Fault:
                pass
            else:
                balance.answered(url, time.monotonic())
                return True
        raise EndpointDown(self._down(f"{url}: {fault}"))

    def _pause_s(self, times: int) -> float:
        return min(_FIRST_PAUSE_S * 2 ** (times - 1), self._config.patience_s / 4)

    async def _turn(self, rather_not: str | None) -> Turn:
        """A turn at a server that works. One that failed before first answers the harmless prompt."""
        while True:
            turn = self._balance.take(time.monotonic(), rather_not)
            if turn is None:
                wait_s = self._balance.wait_s(time.monotonic())
                if wait_s > self._config.patience_s:
                    raise EndpointDown(self._down(f"the next try is in {wait_s:.0f} s, as the servers ask"))
                await asyncio.sleep(min(max(wait_s, _LEAST_POLL_S), _POLL_S) + random.uniform(0.0, 0.01))
            elif not turn.suspect:
                return turn
            else:
                found = await self._try(turn, self._harmless, _HARMLESS_S)
                if isinstance(found, Fault) and self._balance.down_s(time.monotonic()) > self._config.patience_s:
                    raise EndpointDown(self._down(f"{turn.url}: {found}"))

    async def _try(self, turn: Turn, prompt: Prompt, most_s: float = float("inf")) -> Answer | Fault:
        """Sends one request, and records whether the server works."""
        sent, balance = time.monotonic(), self._balance
        try:
            found = await self._send(turn.url, prompt, most_s)
        except Fault as fault:
            now = time.monotonic()
            if fault.kind in _OF_A_ROW:
                balance.answered(turn.url, now)
                return fault
            if fault.kind is FaultKind.BUSY:
                balance.is_busy(turn.url, now, fault.after_s)
            else:
                balance.failed(turn.url, sent, now, fault.after_s)
            return fault
        else:
            balance.answered(turn.url, time.monotonic())
            return found
        finally:
            balance.done(turn)

    def _down(self, why: str) -> str:
        urls = self._config.urls
        return f"no server of {self._config.model} works ({len(urls)} asked, endpoint.patience_s={self._config.patience_s:g}): {why}"

    async def _send(self, url: str, prompt: Prompt, most_s: float) -> Answer:
        """Sends one request, and waits for its answer for `timeout_s`, at most for `most_s`. Raises Fault if there is
        no usable answer."""
        config, sent, number = self._config, time.monotonic(), self._usage["requests"]
        self._usage["requests"] += 1
        self._in_flight[number] = sent, prompt
        names, charged = _ASSUMED, _most(prompt)  # also of a request that is broken off
        try:
            fields = request(config, prompt, self._ends)
            content = await self._post(address(url, config), json.dumps(fields).encode(), min(config.timeout_s, most_s))
            if any(tokens := counted(content)):
                names, charged = _COUNTED, tokens
            found = replace(answer(content, config.answers_as), charged=charged)
            self._usage["answers"] += 1
            return found
        except Fault as fault:
            self._usage["faults"] += 1
            if names is _ASSUMED and not fault.may_cost:
                charged = (charged[0] if fault.kind is FaultKind.ROW else 0, 0)
            hidden = Fault(fault.kind, self._credentials.hide(str(fault)), fault.after_s)
            hidden.charged = charged
            raise hidden from None
        finally:
            for name, more in zip(names, charged):
                self._usage[name] += more
            del self._in_flight[number]
            self._usage["in_flight_s"] += time.monotonic() - sent

    async def _post(self, url: str, body: bytes, most_s: float) -> dict[str, Any]:
        kind, limits = {"Content-Type": "application/json"}, aiohttp.ClientTimeout(most_s, sock_connect=_CONNECT_S)
        try:
            async with self._session.post(
                url, data=body, headers=kind, timeout=limits, allow_redirects=False
            ) as response:
                return read(response.status, response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError:
            raise Fault(FaultKind.DOWN, "no connection in time", may_cost=False) from None
        except TimeoutError:
            raise Fault(FaultKind.SLOW, f"no answer in {most_s:g} s (endpoint.timeout_s)") from None
        except (aiohttp.ClientError, OSError) as error:
            connected = not isinstance(error, aiohttp.ClientConnectorError)
            raise Fault(FaultKind.DOWN, f"{type(error).__name__}: {error}", may_cost=connected) from None
