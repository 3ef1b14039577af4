"""The work that jobs share around their pipelines: checks before Ray starts, the manifest, and opening the corpus."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import EACH, InputConfig
from routelmt_ray.config.errors import Refused, message_of
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus import column_paths, file_list, losses
from routelmt_ray.corpus.column_checks import check_columns, check_spelling, require_columns
from routelmt_ray.corpus.column_types import is_text
from routelmt_ray.corpus.corpus import Corpus, open_corpus
from routelmt_ray.corpus.file_list import FileList
from routelmt_ray.corpus.input_files import InputFile, Unread, find, fingerprint, look_at
from routelmt_ray.corpus.languages import language_name
from routelmt_ray.corpus.shard_reader import InputChanged
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.translators import check_model, model_identity
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.provenance import now, versions
from routelmt_ray.runtime.stopping import Stopped
from routelmt_ray.stages import output
from routelmt_ray.storage import lease
from routelmt_ray.storage.rundir import ACCOUNT, RunDir, differences

log = logging.getLogger(__name__)

TOO_MANY_QUARANTINED = 3
"""Exit status of a job that finished, but lost more rows than `output.max_quarantine_share`."""


JobConfig = LabelConfig | ProfileConfig | TranslateConfig
"""The configurations of jobs over a corpus."""


@dataclass(frozen=True)
class Preparation:
    """A configuration that was accepted, and its files."""

    config: JobConfig
    files: FileList
    """Files of the corpus, whose rows are not read yet."""
    identity: dict[str, Any]
    """Facts that a run directory is bound to: a start with another identity is refused."""
    number_columns: dict[str, str]
    """Input columns that must hold numbers, by the config key that names them."""
    text_columns: dict[str, str]
    """Input columns that must hold strings, by the config key that names them."""
    unread: tuple[Unread, ...]
    """Other files and folders at the path of the corpus, which are not read."""
    glossary: Glossary = field(default_factory=Glossary)


def prepare(
    config: JobConfig,
    job: str,
    identity: Mapping[str, Any],
    number_columns: Mapping[str, str] | None = None,
    more_text_columns: Mapping[str, str] | None = None,
) -> Preparation:
    """Runs all checks that need neither Ray nor a model in memory.

    The run directory is bound to `identity`, in addition to corpus, models, prompts and seed. Columns that must hold numbers
    or strings have the config keys that name them. Raises ValueError where the job is refused, NothingNew where no file of the
    corpus is new since ``input.since_run``.
    """
    run, numbers = RunDir(config.run_dir), dict(number_columns or {})
    manifest = run.manifest()  # read first: the checks below may be wrong for a run of another version
    texts = text_columns(config.input) | dict(more_text_columns or {})
    for size, model in (("small", config.models.small), ("large", config.models.large)):
        check_model(f"models.{size}", model, elsewhere=config.ray.address != "local")
    _check_languages(config)
    since_run = config.input.since_run
    found = find(config.input.path)
    losses.log_unread(config.input.path, losses.summary(found.unread))
    chosen = file_list.choose(run, found.files, since_run)
    check_columns(chosen.files, texts | numbers)
    whole = {
        "job": job,
        "corpus": fingerprint(chosen.files),
        "input": {key: value for key, value in configlib.to_dict(config.input).items() if key != "protect"}
        # Only its name, because that run may be moved together with this one.
        | {"path": None, "since_run": since_run and RunDir(since_run).root.name},
        "output": configlib.to_dict(config.output) | {"max_quarantine_share": None},
        "models": {"small": model_identity(config.models.small), "large": model_identity(config.models.large)},
        "seed": config.seed,
        **identity,
    }
    if manifest is None and set(storage.list_names(run.root)) - {lease.FILE, ACCOUNT}:
        raise ValueError(
            f"run_dir {run.root} has files but no manifest.json: not a run directory; name a new or empty folder"
        )
    if manifest is not None and (changed := differences(_with_duplicates(manifest.get("identity")), whole)):
        raise ValueError(
            f"run_dir {run.root} was made with other settings:\n  " + "\n  ".join(changed) + "\n(recorded -> wanted). "
            "Only the budget, guards, audit, metrics, pools, batches and the cluster may change; use a new run_dir"
        )
    return Preparation(config, chosen, whole, numbers, texts, found.unread)


def _with_duplicates(identity: Any) -> Any:
    """The recorded identity of a run. If an older version wrote it, which did not look for repeats, that fact is
    added."""
    if isinstance(identity, dict) and isinstance(identity.get("input"), dict):
        return identity | {"input": {"duplicates": EACH} | identity["input"]}
    return identity


@contextmanager
def recorded_end(run_dir: str) -> Iterator[None]:
    """Records in the manifest how a start of a job failed or was stopped; stops Ray too where the job was stopped."""
    try:
        yield
    except lease.Lost:
        raise  # the manifest is another driver's now
    except (Exception, Stopped) as end:
        refused = isinstance(end, ValueError) and not isinstance(end, storage.Damaged)
        state = "stopped" if isinstance(end, Stopped) else "refused" if refused else "failed"
        run = RunDir(run_dir)
        try:
            if (manifest := run.manifest()) is not None:
                run.write_manifest(manifest | {"state": state, "finished": now(), "error": message_of(end)})
        except (OSError, ValueError) as error:
            log.warning("the end of this start (%s) could not be written to the manifest: %s", state, error)
        if isinstance(end, Stopped):
            log.warning("%s: ending", end)
            cluster.stop()
        raise


def has_whole_output(run: RunDir, manifest: Mapping[str, Any]) -> bool:
    """Tells whether a run is done, and all of its output is there and undamaged."""
    whole = len(run.committed(output.STAGE)) == max(1, manifest.get("shards", 1))
    done = manifest.get("state") == "done" and whole
    return done and not (run.damaged(output.STAGE) | run.damaged(output.QUARANTINE))


def read_manifest(run: RunDir) -> dict[str, Any]:
    """Reads the manifest of a run that is open, and so has one."""
    manifest = run.manifest()
    assert manifest is not None
    return manifest


def ended(run: RunDir, state: str) -> dict[str, Any]:
    """Reads the manifest of a run that has ended now, with this state."""
    return read_manifest(run) | {"state": state, "finished": now()}


def start_output(run: RunDir, made: dict[str, Any], stages: Sequence[str]) -> None:
    """Clears the stages of an output that was made in another way, and records how the new one is made."""
    manifest = read_manifest(run)
    if any(({"output_checks": {}} | manifest).get(key) != value for key, value in made.items()):
        for stage in stages:
            run.clear(stage)
        run.write_manifest(manifest | made)


def exit_status(config: JobConfig) -> int:
    """Computes the exit status of a finished job: 0, or 3 where it lost more rows than allowed, which is logged."""
    run, limit = RunDir(config.run_dir), config.output.max_quarantine_share
    if limit is None or not (manifest := run.manifest()):
        return 0
    lost = losses.count(manifest, sum(meta["rows"] for meta in run.metas("quarantine").values()))
    if lost.share <= limit:
        return 0
    log.error(
        "%d of %d rows are in quarantine, files not read: %d, not to the end: %d; a share of %.3g; "
        "output.max_quarantine_share allows %g: see %s and report.json",
        lost.quarantined, lost.rows, lost.files, lost.cut_files, lost.share, limit, run.root / "quarantine",
    )  # fmt: skip
    return TOO_MANY_QUARANTINED


def text_columns(config: InputConfig) -> dict[str, str]:
    """Lists the input columns that ``input.columns`` names, by the config key that names them."""
    columns = configlib.to_dict(config.columns)
    return {f"input.columns.{key}": name for key, name in columns.items() if name is not None}


def open_run(preparation: Preparation, adds: Sequence[str]) -> tuple[RunContext, ShardPlan]:
    """Writes the manifest of a new run or continues an old run, and opens the corpus, to which the job adds columns.

    Raises Refused where the columns of the corpus do not fit the configuration.
    """
    config, run = preparation.config, RunDir(preparation.config.run_dir)
    run.remove_damaged()
    if leftovers := run.remove_leftovers():
        log.info("removed %d unfinished files of an earlier start", leftovers)
    meter_readings.fold(run, time.time())
    manifest = run.manifest() or {"created": now(), "identity": preparation.identity}
    manifest |= {"state": "running", "started": now(), "config": configlib.to_dict(config), "versions": versions()}
    manifest |= {"error": None, "unread": losses.summary(preparation.unread)}
    run.write_manifest(manifest)  # first, because a folder with other files and no manifest is refused
    preparation.files.write(run)
    try:
        opened = open_corpus(preparation.files.files, run.root / "input", cluster.each)
        corpus = _with_columns(opened, preparation)
        texts, numbers = preparation.text_columns, preparation.number_columns
        require_columns(column_paths.known_paths(corpus.schema), texts | numbers, config.input.path)
        check_spelling(corpus, texts | numbers, cluster.each)
        _check_types(corpus.schema, texts, numbers)
        _check_collisions(corpus.schema, config.output.prefix, adds)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        raise Refused(f"input.path: {error}" if isinstance(error, OSError) else message_of(error)) from None
    for message in corpus.damage:
        log.warning("damaged input: %s", message)
    plan = corpus.plan(config.input.shard_rows)
    manifest |= {"rows": plan.rows, "shards": len(plan), "damaged_files": list(corpus.damage)}
    run.write_manifest(manifest | {"lost_files": losses.lost_files(preparation.files.files, corpus)})
    prefix, terms = config.output.prefix, preparation.glossary
    return RunContext(run, corpus.schema, config.input, config.models, prefix, config.seed, terms), plan


def _with_columns(corpus: Corpus, preparation: Preparation) -> Corpus:
    """The corpus; one without rows gets the needed columns, because its files may not tell which columns they have.

    Raises:
        ValueError: the corpus has no rows because no file could be read.
    """
    if any(part.rows for part in corpus.parts):
        return corpus
    if len(corpus.damage) == len(preparation.files.files):
        raise ValueError(f"input.path: no file can be read; {corpus.damage[0]}")
    wanted = dict.fromkeys((preparation.text_columns | preparation.number_columns).values())
    fields = [pa.field(name, pa.null()) for name in wanted if column_paths.resolve(corpus.schema, name) is None]
    return replace(corpus, schema=pa.schema([*corpus.schema, *fields]))


def check_unchanged(files: Sequence[InputFile]) -> None:
    """Raises InputChanged where a file of the corpus is gone, or its size or its first or last bytes have changed."""
    try:
        now_there = look_at([(file.path, file.name) for file in files])
    except ValueError as error:
        raise InputChanged(str(error)) from None
    for before, after in zip(files, now_there):
        if before != after:
            raise InputChanged(
                f"{before.path} was changed while the job ran, so the output may mix both contents; start in a new run_dir"
            )


def _check_languages(config: JobConfig) -> None:
    """Refuses a language of all rows for which a model's prompt has no name, because no row could be translated."""
    for side in ("source_lang", "target_lang"):
        code = getattr(config.input, side)
        for size in ("small", "large"):
            prompt = getattr(config.models, size).prompt
            if code is not None and language_name(code, load_family(prompt).language_names) is None:
                raise ValueError(
                    f"input.{side} is {code!r}, for which models.{size}.prompt {prompt} has no language name; use a code of "
                    "BCP-47, ISO 639 or FLORES, e.g. de, deu or deu_Latn, or name it in language_names of a prompt family"
                )


def _check_types(schema: pa.Schema, texts: Mapping[str, str], numbers: Mapping[str, str]) -> None:
    for key, name in {**texts, **numbers}.items():
        kind = column_paths.type_of(schema, name)
        if key == "input.columns.id" or pa.types.is_null(kind):
            continue
        if key in numbers:
            numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            fits, allowed = numeric, "numbers"
        else:
            fits, allowed = is_text(kind), "strings"
        if not fits:
            raise ValueError(f"{key} is {name!r}, a column of {kind}; it must hold {allowed}")


def _check_collisions(schema: pa.Schema, prefix: str, adds: Sequence[str]) -> None:
    taken = [prefix + name for name in adds if prefix + name in schema.names]
    if taken:
        raise ValueError(
            f"output.prefix is {prefix!r}, but the corpus already has {', '.join(taken)}; "
            "set output.prefix, e.g. output.prefix=mt_"
        )
    doubled = [name for name, n in Counter(schema.names).items() if n > 1]
    if doubled:
        raise ValueError(f"input.path: the corpus has several columns called {', '.join(doubled)}; rename them")
