"""vLLM's own OpenAI server on a CPU, for tests and benchmarks."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import ENDPOINT_KEY
from tests.engines.openai_server import MODEL, Reply

KEY = os.environ[ENDPOINT_KEY]
"""The key that it asks for."""


class VllmServer:
    """One server of vLLM, in separate processes."""

    def __init__(self, model: Path, folder: Path, *more: str, python: str | Path = sys.executable) -> None:
        """Args: model: what it serves; folder: for its cache and log; more: words for its command line; python: runs it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._model, self._folder, self._more, self._python = model, folder, more, str(python)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        words = [  # the command `vllm` looks for a package of that name, which the build for CPUs does not have
            self._python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model), "--port", str(self.port), "--host", "127.0.0.1",
            "--served-model-name", MODEL, "--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--generation-config", "vllm",
            "--kv-cache-memory-bytes", str(128 << 20), *self._more,
        ]  # fmt: skip
        own = {
            "VLLM_API_KEY": KEY, "VLLM_CACHE_ROOT": str(self._folder), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
            "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, env=os.environ | own, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 400
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()[
                -4000:
            ]
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """Kills it and all its processes without a warning."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def ask(self, fields: dict[str, Any]) -> Reply:
        """Passes a request on, for a proxy."""
        choice = self.post(f"{self.url}/completions", fields)["choices"][0]
        return Reply(choice["text"], choice["token_ids"], choice["finish_reason"])

    def post(self, url: str, fields: dict[str, Any]) -> Any:
        """Sends a request; returns the answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(url, json.dumps(fields).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
