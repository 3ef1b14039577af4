"""Processes in a space of their own: Ray sees no other Ray there, and all of them end with the first."""

import subprocess

import pytest

ALONE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _can_be_alone() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        return False


needs_to_be_alone = pytest.mark.skipif(
    not _can_be_alone(), reason="needs to start processes in a space of their own (unshare, as root)"
)
