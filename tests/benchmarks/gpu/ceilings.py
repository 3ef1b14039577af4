"""The ceilings of the device: operations per second of large matrix products, bytes per second of a large copy."""

from __future__ import annotations

import torch

from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import Bench

_PRODUCTS = 10
"""Products or copies in one timing, so that starting them does not count."""


def ceilings(bench: Bench) -> Figures:
    """Measures matrix products in bfloat16 and float32, and a copy; yields `flops_per_s` or `bytes_per_s`."""
    side = bench.sizes.matmul
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))  # zeros would run faster
        out = torch.empty_like(a)

        def products(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> None:
            for _ in range(_PRODUCTS):
                torch.matmul(a, b, out=out)

        products()
        best = min(bench.seconds(products, 3))
        yield {
            "what": "matmul",
            "dtype": str(dtype).removeprefix("torch."),
            "flops_per_s": 2 * side**3 * _PRODUCTS / best,
        }
    source = torch.randint(0, 256, (bench.sizes.copy_bytes,), device=bench.device, dtype=torch.uint8)
    target = torch.empty_like(source)

    def copies() -> None:
        for _ in range(_PRODUCTS):
            target.copy_(source)

    copies()
    best = min(bench.seconds(copies, 3))
    yield {
        "what": "copy",
        "bytes_per_s": 2 * bench.sizes.copy_bytes * _PRODUCTS / best,
    }  # each byte is read and written
