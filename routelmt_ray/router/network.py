"""The trained network: the frozen small model, with adapters in its linear layers and a head on its state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model, get_peft_model_state_dict
from safetensors.torch import save

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LAST_TOKEN
from routelmt_ray.config.train import LoraConfig
from routelmt_ray.engines.architecture import adapted_layers
from routelmt_ray.engines.batching import length_batches
from routelmt_ray.engines.hf import device_of, load_weights, pad_token, state_width
from routelmt_ray.engines.prefill import pad_right, prompt_states
from routelmt_ray.engines.tokenizers import load_tokenizer


class Network(torch.nn.Module):
    """Maps prompts to one number for each head."""

    def __init__(self, small: ModelConfig, lora: LoraConfig, heads: int, seed: int, pooling: str = LAST_TOKEN) -> None:
        """Loads the small model and adds fresh adapters, which change nothing yet; `pooling` says which states the heads read."""
        super().__init__()
        self._pooling = pooling
        torch.set_num_threads(small.threads)
        self.device = device_of(small)
        precision = lora.precision
        if precision == "auto":
            precision = "bfloat16" if self.device.type == "cuda" else "float32"
        self._mixed = precision != "float32"
        self._rows, self._tokens = lora.batch_rows, small.batch_tokens
        base = load_weights(small, getattr(torch, precision))
        self._pad = pad_token(load_tokenizer(small).pad_token_id, base)
        torch.manual_seed(seed)
        self.adapted = get_peft_model(
            base,
            PeftLoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=adapted_layers(base),
                bias="none",
            ),
        )
        hidden = state_width(base)
        self.head = torch.nn.Linear(hidden, heads, bias=False)
        torch.nn.init.normal_(self.head.weight, std=0.1 / hidden**0.5)  # gains are small: begin near their mean
        self.to(self.device).train()

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Lists the parameters of adapters and head by name, float32."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def forward(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Computes head outputs ``(batch, heads)``, float32, of prompts given as token ids."""
        ids, lengths = pad_right(prompts, self._pad, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
            states = prompt_states(self.adapted.get_base_model(), ids, lengths, self._pooling)
        raw: torch.Tensor = self.head(states)
        return raw

    def batches(self, prompts: Sequence[Sequence[int]], rows: np.ndarray) -> list[np.ndarray]:
        """Cuts rows into batches of similar length that fit in memory."""
        lengths = [len(prompts[i]) for i in rows]
        return [rows[batch] for batch in length_batches(lengths, [0] * len(rows), self._rows, self._tokens)]

    @torch.inference_mode()
    def predict(self, prompts: Sequence[Sequence[int]], rows: np.ndarray) -> np.ndarray:
        """Computes head outputs of the given rows, in their order and without dropout: ``(rows, heads)``, float32."""
        self.eval()
        at = {int(row): i for i, row in enumerate(rows)}
        out = np.empty((len(rows), self.head.out_features), np.float32)
        for batch in self.batches(prompts, rows):
            out[[at[int(row)] for row in batch]] = self([prompts[i] for i in batch]).cpu().numpy()
        self.train()
        return out

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapters in the format of peft: adapter_config.json and adapter_model.safetensors."""
        folder.mkdir(parents=True)
        tensors = get_peft_model_state_dict(self.adapted, save_embedding_layers=False)
        content = save({name: t.cpu().contiguous() for name, t in tensors.items()}, {"format": "pt"})
        (folder / "adapter_model.safetensors").write_bytes(content)
        config = self.adapted.peft_config["default"]
        config.inference_mode = True
        config.save_pretrained(str(folder))
