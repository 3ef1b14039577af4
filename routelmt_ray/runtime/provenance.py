"""Facts about the origin of a result, for the manifest: versions of the software, and the time."""

import platform
from datetime import UTC, datetime
from importlib import metadata

from routelmt_ray import __version__
from routelmt_ray.config.engines import ENGINES


def versions() -> dict[str, str]:
    """Reads the versions of the software that affects a result."""
    names = ("ray", "torch", "transformers", "tokenizers", "peft", "pyarrow", "numpy", "sacrebleu")
    engines = [package for kind in ENGINES.values() for package in kind.packages]
    found = {"routelmt_ray": __version__, "python": platform.python_version()}
    for name in (*names, *engines):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name in names:
                found[name] = "absent"
    return found


def now() -> str:
    """Gives the present time: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
