"""Finds problems in the files of a model before it is loaded.

Only headers are read, so a model of hundreds of gigabytes is checked in a second.
"""

import json
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from routelmt_ray.config.errors import first_of_many

_WEIGHTS, _INDEX, _ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
_LFS = b"version https://git-lfs"
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
_READABLE = (
    ".md", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".html", ".ipynb", ".log", ".lock",
)  # fmt: skip
_PAPERS = ("readme", "license", "licence", "notice", "changelog", "citation", "use_policy", "copying")
_OF_TRAINING = frozenset(("training_args.bin", "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"))
_HEADER_MOST = 100 << 20
"""Most bytes of a safetensors header, as in the library of that format."""
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "aqlm": ("aqlm",),
    "auto-round": ("auto_round",),
    "awq": ("awq", "gptqmodel"),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "eetq": ("eetq",),
    "fbgemm_fp8": ("fbgemm_gpu",),
    "gptq": ("gptqmodel", "auto_gptq"),
    "hqq": ("hqq",),
    "quanto": ("optimum.quanto",),
    "spqr": ("spqr_quant",),
    "torchao": ("torchao",),
    "vptq": ("vptq",),
}
"""Python modules that transformers needs for each kind of quantized weights. One of them must be installed."""


def local_folder(path: str, revision: str | None) -> Path | None:
    """Finds the folder with the files of a model on this machine; None where they are not here yet. `path` is a folder,
    or a hub id whose files the local cache may hold."""
    if os.path.isdir(path):
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError):
        return None


def check_pointers(folder: Path) -> None:
    """Refuses a folder with pointers of Git LFS in place of files, as in a clone without Git LFS."""
    pointers = [path.name for path in sorted(folder.iterdir()) if path.is_file() and _begins(path, _LFS)]
    if pointers:
        raise ValueError(
            f"{first_of_many(pointers)} in it are Git LFS pointers, not the files themselves; run `git lfs pull` there"
        )


def check_weights(folder: Path, any_name: bool = False) -> None:
    """Refuses weights that are not safetensors, not complete, or cut short. With `any_name` it accepts safetensors
    files of any name, as vLLM does."""
    if (folder / _ADAPTER).is_file() and not any((folder / name).is_file() for name in (_WEIGHTS, _INDEX)):
        _check_file(folder / "adapter_model.safetensors")
        return
    if (folder / _WEIGHTS).is_file():
        _check_file(folder / _WEIGHTS)
        return
    if not (folder / _INDEX).is_file():
        if any_name and (strays := sorted(folder.glob("*.safetensors"))):
            for path in strays:
                _check_file(path)
            return
        raise ValueError(_no_weights(folder))
    try:
        places = dict(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_INDEX} cannot be read: {type(error).__name__}: {error}") from None
    files = sorted(set(places.values()))
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise ValueError(f"{first_of_many(missing)} of its {len(files)} weight files are missing; get them again")
    held = {name: _check_file(folder / name) for name in files}
    if lost := sorted(tensor for tensor, name in places.items() if tensor not in held[name]):
        raise ValueError(
            f"{first_of_many(lost)} are not in the files where {_INDEX} says they are; get the model again"
        )


def check_quantization(config: Any) -> None:
    """Refuses a quantized model whose package is not installed here."""
    quantization = getattr(config, "quantization_config", None) or {}
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization.quant_method
    method = str(getattr(method, "value", method) or "")
    needed = _PACKAGES.get(method, ())
    if needed and not any(_installed(module) for module in needed):
        raise ValueError(
            f"its weights are quantized ({method}), for which transformers needs the package {' or '.join(needed)}; install it, "
            "use the engine vllm, or a model that is not quantized"
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is not installed
        return False


def _no_weights(folder: Path) -> str:
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHER_WEIGHTS)
    strays = sorted(path.name for path in folder.glob("*.safetensors"))
    found = f"there is {first_of_many(others or strays)} instead" if others or strays else "there are no weights at all"
    return (
        f"neither {_WEIGHTS} nor {_INDEX} is in it, {found}; only safetensors are read: load the model with transformers and "
        "save it with save_pretrained, which writes them"
    )


def _check_file(path: Path) -> set[str]:
    """Checks the header of a safetensors file; returns the names of its tensors."""
    try:
        size = path.stat().st_size
        with path.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if not 0 < length <= min(_HEADER_MOST, size - 8):
                raise ValueError("it has no header of safetensors")
            header = dict(json.loads(source.read(length)))
        header.pop("__metadata__", None)
        wanted = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path.name} is not a readable safetensors file: {error}; get it again") from None
    if size != wanted:
        raise ValueError(f"{path.name} has {size:,} bytes, but its header says {wanted:,}; get it again")
    return set(header)


def shaping_files(folder: Path) -> Iterator[Path]:
    """Lists the files of a model or router that can affect its answers, without documents and files of tools."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        tools = any(part.startswith((".", "__pycache__")) for part in inside.parts)
        for_people = path.suffix.lower() in _READABLE or path.name.lower().startswith(_PAPERS)
        if not (tools or for_people) and path.is_file() and path.name not in _OF_TRAINING:
            yield path


def _begins(path: Path, content: bytes) -> bool:
    with path.open("rb") as source:
        return source.read(len(content)) == content
