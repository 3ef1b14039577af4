"""Facts about the origin of a result, for the manifest: versions of the software, and the time."""

import platform
from datetime import UTC, datetime
from importlib import metadata

from routelmt_ray import __version__
from routelmt_ray.config.engines import ENGINES

ABSENT = "absent"


def versions() -> dict[str, str]:
    """Reads the versions of the software that affects a result."""
    names = ("ray", "torch", "transformers", "tokenizers", "peft", "pyarrow", "numpy", "sacrebleu")
    engines = [package for kind in ENGINES.values() for package in kind.packages]
    found = {"routelmt_ray": __version__, "python": platform.python_version()}
    found |= {name: installed(name) for name in names}
    return found | {name: version for name in engines if (version := installed(name)) != ABSENT}


def installed(package: str) -> str:
    """Reads the version of a package; `ABSENT` for a missing one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ABSENT


def now() -> str:
    """Gives the present time: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
