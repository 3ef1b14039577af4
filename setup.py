"""Names what a wheel is made of; all else is in pyproject.toml.

Jobs and configurations stand beside the library in the repository, for who reads it, and inside the package once they are
installed, where `jobs` and `configs` could be anybody's.
"""

from setuptools import find_packages, setup

BESIDE = {"routelmt_ray.jobs": "jobs", "routelmt_ray.configs": "configs"}

setup(packages=[*find_packages(include=["routelmt_ray*"]), *BESIDE], package_dir=BESIDE)
