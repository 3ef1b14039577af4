"""Prints what the project needs, one requirement a line, with the extras that are named: for the image's layer of packages."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
print(
    *project["dependencies"],
    *(line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]),
    sep="\n",
)
