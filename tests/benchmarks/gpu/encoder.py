"""The encoder of a judge as large as COMET's (XLM-R large), with random weights: rows per second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from routelmt_ray.engines.batching import length_batches
from tests.benchmarks.gpu.runner import Figures
from tests.benchmarks.gpu.setting import TEMPLATE_TOKENS, Bench, draw_lengths

_LONGEST = 512
_BATCH_ROWS, _BATCH_TOKENS = 64, 16_384
"""The defaults of `metrics.comet`."""


def encoder(bench: Bench) -> Figures:
    """Measures the encoder on source and translation in one sequence, in float32, as a checkpoint runs, and in bfloat16."""
    hidden, layers, heads, intermediate, vocabulary = bench.sizes.encoder
    config = XLMRobertaConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=intermediate, max_position_embeddings=_LONGEST + 2, pad_token_id=1,
    )  # fmt: skip
    lengths = np.minimum(2 * (draw_lengths(bench.sizes.probe_rows // 4, 4) - TEMPLATE_TOKENS), _LONGEST)
    weights = layers * (4 * hidden**2 + 2 * hidden * intermediate)
    flops = 2 * weights * float(lengths.sum()) + 4 * layers * hidden * float((lengths.astype(float) ** 2).sum())
    batches = length_batches(lengths.tolist(), [0] * len(lengths), _BATCH_ROWS, _BATCH_TOKENS)
    for dtype in (torch.float32, torch.bfloat16):
        bench.forget()
        torch.manual_seed(0)
        with torch.device(bench.device):
            model = XLMRobertaModel(config, add_pooling_layer=False).to(dtype).eval()

        def run(model: Any = model) -> list[Any]:
            return [_states(model, lengths[batch], vocabulary, bench.device) for batch in batches]

        run()
        seconds = min(bench.seconds(run))
        yield {
            "dtype": str(dtype).removeprefix("torch."), "rows": len(lengths), "tokens": int(lengths.sum()), "flops": flops,
            "seconds": seconds, "peak_gib": bench.peak_gib(),
        }  # fmt: skip
        del model, run  # else the next one would be made beside it


@torch.inference_mode()
def _states(model: Any, lengths: np.ndarray, vocabulary: int, device: torch.device) -> np.ndarray:
    width = int(lengths.max())
    ids = torch.randint(5, vocabulary, (len(lengths), width))
    mask = torch.arange(width)[None, :] < torch.from_numpy(lengths)[:, None]
    ids[~mask] = 1
    states = model(input_ids=ids.to(device), attention_mask=mask.long().to(device)).last_hidden_state
    return states[:, 0].float().cpu().numpy()
