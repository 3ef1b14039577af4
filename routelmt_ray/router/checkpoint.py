"""Checkpoints of a training: one safetensors file, replaced atomically, with all that the next step depends on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from routelmt_ray import storage

Tensors = Mapping[str, torch.Tensor]


def save_checkpoint(
    path: Path, parameters: Tensors, best: Tensors, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Writes a checkpoint: parameters, best values so far, optimizer state, random state and JSON values with their `step`.

    The optimizer is AdamW after at least one step.
    """
    tensors: dict[str, torch.Tensor] = {f"now.{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, p in parameters.items():
        kept = optimizer.state[p]
        tensors |= {f"mean.{name}": kept["exp_avg"], f"square.{name}": kept["exp_avg_sq"]}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    ready = {name: value.cpu().contiguous() for name, value in tensors.items()}
    storage.write_bytes(path, save(ready, metadata={"state": json.dumps(state)}))


def load_checkpoint(
    path: Path, parameters: Tensors, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Restores parameters, a fresh optimizer and random state from a checkpoint.

    Returns the best values so far, on the CPU, and the JSON values; None where there is no file.
    """
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(tensors[f"now.{name}"])
            optimizer.state[p] = {
                "step": torch.tensor(float(state["step"])),
                "exp_avg": tensors[f"mean.{name}"].to(p.device),
                "exp_avg_sq": tensors[f"square.{name}"].to(p.device),
            }
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}, state
