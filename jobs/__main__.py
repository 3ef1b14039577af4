"""The command `routelmt`: every job by its name. `routelmt translate …` is `python jobs/translate.py …`.

Options, messages and exit statuses are those of the job. The demo writes a corpus of generated sentences and translates
it under a budget with the two small models that come with the package.
"""

import argparse
import inspect
import runpy
import sys
from pathlib import Path

from routelmt_ray import __version__
from routelmt_ray.demo import corpus

COMMANDS = {
    "translate": (f"{__package__}.translate", "translate a corpus with a small and a large model under a budget"),
    "label": (f"{__package__}.label", "measure how much better the large model's translation of each row is"),
    "train": (f"{__package__}.train", "train a router on such labels"),
    "evaluate": (f"{__package__}.evaluate", "compare routers on such labels"),
    "profile": (f"{__package__}.profile_costs", "measure what a row of a corpus costs on each model"),
    "status": (f"{__package__}.status", "show how far a run is"),
    "account": (f"{__package__}.account", "show what the jobs of a period have taken from their account"),
    "threshold": (
        f"{__package__}.threshold",
        "find the lowest predicted gain with which a row goes to the large model",
    ),
    "export-router": ("routelmt_ray.job.export", "make a router a standard sequence classifier"),
    "demo": (f"{__package__}.translate", "write a small corpus and translate it with the models of the package"),
}
"""Module and one line of help for each name."""


def main() -> None:
    """Runs the job that the command line names and exits with its status; 2 where there is no such command."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(help_text())
    elif name == "--version":
        print(__version__)
    elif name not in COMMANDS:
        sys.stderr.write(f"routelmt: there is no command {name!r}; the commands are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    else:
        sys.argv[1:] = prepare_demo(words) if name == "demo" else words
        # Runs the file as `python -m` would: each job's file decides how it starts and with which status it ends.
        runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)


def help_text() -> str:
    """Builds the text that --help prints: usage, this module's docstring and the commands."""
    lines = [f"  {name:15}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        ["usage: routelmt COMMAND …", "", inspect.cleandoc(__doc__ or ""), "", "Commands:", *lines, ""]
        + ["`routelmt COMMAND --help` shows all options of a command; `routelmt --version` the version."]
    )


def prepare_demo(words: list[str]) -> list[str]:
    """Writes the demo corpus; returns the command-line words with which the translate job translates it."""
    parser = argparse.ArgumentParser(prog="routelmt demo", description=f"Demo: {COMMANDS['demo'][1]}.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder (default runs/demo)")
    parser.add_argument("--rows", type=int, default=2000, help="rows of the corpus (default 2000)")
    parser.add_argument("words", nargs="*", metavar="key=value", help="of the translate job, e.g. budget.fraction=0.5")
    asked = parser.parse_intermixed_args(words)
    try:
        corpus.write_corpus(asked.out / "corpus", "test", asked.rows, seed=0)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    models = Path(corpus.__file__).parent  # the configuration names them from the root of the repository
    return [
        f"--config={Path(__file__).parent.parent / 'configs' / 'demo.yaml'}",
        f"input.path={asked.out / 'corpus'}",
        f"run_dir={asked.out / 'run'}",
        f"models.small.path={models / 'models' / 'small'}",
        f"models.large.path={models / 'models' / 'large'}",
        f"router.path={models / 'router'}",
        *asked.words,
    ]


if __name__ == "__main__":
    main()
