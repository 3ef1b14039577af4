"""The configuration is refused with the field, the value and what is allowed, or it is right."""

import operator

import pytest
from omegaconf import OmegaConf

from routelmt_ray.config import loader as configlib
from routelmt_ray.config import text as config_text
from routelmt_ray.config.engines import ENGINES
from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.config.translate import TranslateConfig
from tests.conftest import ROOT

GOOD = [
    "run_dir=r", "input.path=corpus", "input.source_lang=en", "input.target_lang=de", "models.small.engine=echo",
    "models.large.engine=echo", "router.kind=length", "budget.fraction=0.3",
]  # fmt: skip

HOURS = ["budget.fraction=null", "budget.gpu_hours=2"]


def load(*more: str) -> TranslateConfig:
    return configlib.load(TranslateConfig, [], [*GOOD, *more])


def test_overrides_reach_nested_fields_with_their_types() -> None:
    config = load("models.large.pool.actors=3", "models.small.num_beams=4", "seed=7")
    assert (config.models.large.pool.actors, config.models.small.num_beams, config.seed) == (3, 4, 7)
    assert config.models.small.pool.actors == 1
    assert config.budget.fraction == 0.3


def test_later_layers_win(tmp_path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("seed: 1\nbudget: {fraction: 0.1}\n")
    second.write_text("seed: 2\n")
    config = configlib.load(TranslateConfig, [str(first), str(second)], [*GOOD[:-1], "budget.fraction=0.2"])
    assert (config.seed, config.budget.fraction) == (2, 0.2)


def test_a_budget_in_hours_weighs_gain_by_cost_and_spends_on_no_loss() -> None:
    assert (load().objective, load().min_gain) == ("gain", None)
    hours = load(*HOURS, "router.scale=0.01")
    assert (hours.objective, hours.min_gain) == ("gain_per_cost", 0.0)
    assert load(*HOURS, "budget.objective=gain").min_gain is None, "a score without a unit has no zero"


MONEY = ["budget.fraction=null", "budget.money=500", "router.scale=0.01"]
GPUS = ["price.small.gpu_hour=2", "price.large.gpu_hour=3"]
TOKENS = ["price.large.input_tokens=1", "price.large.output_tokens=0"]
LARGE_AT_A_SERVER = ["models.large.engine=openai", "models.large.path=a/b"]
SERVED = [*LARGE_AT_A_SERVER, "models.small.engine=openai", "models.small.path=a/c", *TOKENS, *(w.replace("large", "small") for w in TOKENS)]  # fmt: skip
JUDGED = ["guard.keep_better=0.1", "guard.comet_qe.path=x"]
ACCOUNT = ["budget.fraction=null", "account.path=x", "account.money=500", "router.scale=0.01"]


def test_a_budget_in_money_is_spent_by_cost_and_prices_alone_change_no_plan() -> None:
    money = load(*MONEY, *GPUS)
    assert (money.objective, money.min_gain, money.in_money, money.budget.by_cost) == ("gain_per_cost", 0.0, True, True)
    assert money.budget.asked()["money"] == 500.0 and "money" not in load().budget.asked()
    served = load(*MONEY, *LARGE_AT_A_SERVER, GPUS[0], *TOKENS)
    assert served.price.large.output_tokens == 0.0
    assert load(*LARGE_AT_A_SERVER, GPUS[0], *TOKENS, "budget.dry_run=true").in_money
    assert not load(*HOURS, *GPUS, "router.scale=0.01").in_money and load(*GPUS).in_money and not load().in_money
    assert load(*ACCOUNT, *GPUS).in_money and not load(*ACCOUNT[:2], "account.gpu_hours=5", *GPUS, ACCOUNT[3]).in_money
    assert load(*MONEY, *LARGE_AT_A_SERVER, GPUS[0], *TOKENS, *JUDGED).in_money, (
        "the judge is estimated by the model that runs here"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([*MONEY, *GPUS, "budget.rows=5"], r"budget.rows and budget.money are set; set exactly one"),
        ([*MONEY, *GPUS, "budget.gpu_hours=5"], r"budget.gpu_hours and budget.money are set"),
        ([*GPUS, "budget.fraction=null", "budget.money=-1"], r"budget.money is -1.0; it must be null or a number above 0"),
        (MONEY, r"price.small.gpu_hour is null, but budget.money is 500: both models need their prices"),
        ([*MONEY, GPUS[0]], r"price.large.gpu_hour is null, but budget.money is 500"),
        ([GPUS[0]], r"price.large.gpu_hour is null, but another price is set"),
        ([*MONEY, *LARGE_AT_A_SERVER, GPUS[0], TOKENS[0]], r"price.large.output_tokens is null"),
        ([*MONEY, GPUS[0], "price.large.gpu_hour=-2"], r"price.large.gpu_hour is -2.0; it must be null or a number of at least 0"),
        ([*MONEY, *GPUS, TOKENS[0]], r"price.large.input_tokens is 1, but models.large.engine is `echo`, which runs here"),
        ([*LARGE_AT_A_SERVER, *GPUS], r"price.large.gpu_hour is 3, but models.large.engine is `openai`, which asks a server"),
        ([*MONEY, *GPUS, "price.currency=US dollar"], r"price.currency is 'US dollar'; it must be 1 to 8 characters"),
        ([*MONEY, *GPUS, "price.currency=gpu_s"], r"price.currency is 'gpu_s'"),
        ([*ACCOUNT, *GPUS, "price.currency=rows"], r"price.currency is 'rows'; it must be 1 to 8 characters.*, but not rows"),
        ([*MONEY, *SERVED, *JUDGED], r"budget.money is 500, but a guard or the audit needs a judge while servers run both models: nothing"),
        ([*SERVED, "budget.dry_run=true", *JUDGED], r"budget.dry_run is true, with prices, but a guard or the audit needs a judge wh"),
        ([*MONEY, *GPUS, "price.judge.gpu_hour=-1"], r"price.judge.gpu_hour is -1.0; it must be null or a number of at least 0"),
        (ACCOUNT, r"price.small.gpu_hour is null, but account.money is 500: both models need their prices"),
        ([*ACCOUNT, *GPUS, "account.rows=5"], r"account: account.money and account.rows are set; set exactly one of account.gpu_hours, account.m"),
        ([*ACCOUNT, *GPUS, "account.money=0"], r"account.money is 0.0; it must be null or a number above 0"),
        ([*LARGE_AT_A_SERVER, *HOURS], r"budget.gpu_hours=2.0 needs the device-seconds of both models"),
        ([*LARGE_AT_A_SERVER, *HOURS, GPUS[0], *TOKENS, "budget.dry_run=true"], r"budget.gpu_hours=2.0 needs the device-seconds"),
    ],
)  # fmt: skip
def test_money_that_does_not_fit_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        load(*words)


IN_FILES = ["no", "on", "007", "1e3", "2024_05", "2024-05-01", "0x1f", "1:30", ".inf", "true"]
TEXTS = [*IN_FILES, "[a]", "{a,b}/*", "*.jsonl", "a: b", "#x"]
KEYS = [
    "run_dir", "input.path", "input.columns.source", "input.columns.id", "input.columns.reference", "output.prefix",
    "router.path", "router.column", "budget.strata", "cost.path", "models.small.path", "models.small.revision",
    "models.large.path", "models.large.revision", "models.large.pool.accelerator_type",
]  # fmt: skip


def test_text_is_taken_as_it_is_written(tmp_path) -> None:
    config = load(*map("{}={}".format, KEYS, TEXTS))
    assert [operator.attrgetter(key)(config) for key in KEYS] == TEXTS
    path = tmp_path / "c.yaml"
    nested = "".join(f"{'  ' * n}{part}:\n" for n, part in enumerate(["input", "columns"]))
    caps = ", ".join(f"{text}: 0.5" for text in IN_FILES)
    path.write_text(f"run_dir: 007\n{nested}    id: no\n    reference: 1e3\nbudget: {{strata: on, caps: {{{caps}}}}}\n")
    config = configlib.load(TranslateConfig, [str(path)], GOOD[1:])
    columns = config.input.columns
    assert (config.run_dir, columns.id, columns.reference, config.budget.strata) == ("007", "no", "1e3", "on")
    assert list(config.budget.caps) == IN_FILES
    config = load("input.columns={id: no, reference: 1e3}", "budget.floors={no: 0.5, 007: 0.5}")
    assert (config.input.columns.id, config.input.columns.reference) == ("no", "1e3")
    assert config.budget.floors == {"no": 0.5, "007": 0.5}
    words = ["out=o", "labels.path=l", "small.path=s", "scorers.routers.mine=007", "scorers.columns={1e3: rank}"]
    evaluated = configlib.load(EvaluateConfig, [], words)
    assert (evaluated.scorers.routers, evaluated.scorers.columns) == ({"mine": "007"}, {"1e3": "rank"})


def test_every_key_of_text_in_every_job_takes_no_for_text() -> None:
    for schema in (TranslateConfig, LabelConfig, ProfileConfig, TrainConfig, EvaluateConfig):
        for key, kind, *_ in configlib.flatten(schema):
            if config_text.type_of(schema, key) is str:
                assert kind in ("str", "str or null")
                ((_, layer),) = configlib._layers(schema, [], [f"{key}=no"])
                assert OmegaConf.select(layer, key) == "no", key


def test_null_and_quotes_mean_what_they_do_in_yaml() -> None:
    for word in ("null", "~", ""):
        assert load(f"budget.strata={word}").budget.strata is None
    assert load("output.prefix=").output.prefix == ""
    assert load("budget.strata='null'", 'output.prefix="a b"').budget.strata == "null"
    with pytest.raises(ValueError, match="run_dir"):
        load("run_dir=null")
    with pytest.raises(ValueError, match="is not valid YAML"):
        load("run_dir='open")


def test_home_is_expanded_and_a_word_the_shell_split_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    path = tmp_path / "c.yaml"
    path.write_text("run_dir: ~/run\nrouter: {path: ~nobody-at-all/r}\n")
    config = configlib.load(TranslateConfig, [str(path)], [*GOOD[1:], "input.path=~/in/*.jsonl"])
    assert (config.run_dir, config.input.path) == ("/somewhere/run", "/somewhere/in/*.jsonl")
    assert config.router.path == "~nobody-at-all/r"
    with pytest.raises(
        ValueError, match=r"input.path is given twice in a row, as 'a.jsonl' and 'b.jsonl'; a shell expands"
    ):
        load("input.path=a.jsonl", "input.path=b.jsonl")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["router.scale=inf"], "router.scale is inf; it must be a finite number"),
        (["router.intercept=nan"], "router.intercept is nan; it must be a finite number"),
        (["models.small.pool.resources={spot: .inf}"], "models.small.pool.resources is {'spot': inf}; it must be"),
        (["budget.fractoin=1"], "unknown key budget.fractoin; did you mean budget.fraction?"),
        (["budgets.fraction=1"], "unknown key budgets; did you mean budget"),
        (["budget.fraction=1.5"], "budget.fraction is 1.5; it must be null or a number from 0 to 1"),
        (["budget.fraction=nan"], "budget.fraction is nan"),
        (["budget.fraction=abc"], "budget.fraction: Value 'abc'"),
        (["budget.fraction=null", "budget.rows=-1"], "budget.rows is -1; it must be null or an integer of at least 0"),
        (["budget.rows=5"], "budget.fraction and budget.rows are set"),
        (["budget.fraction=null"], "budget: none is set"),
        (["budget.objective=gain_per_cost"], "a budget in rows has no cost to divide by"),
        (["budget.min_gain=0"], "router.kind=length are not in units of gain"),
        ([*HOURS, "budget.min_gain=null"], "budget.objective is gain_per_cost, but the scores of router.kind=length"),
        (
            [*HOURS, "router.scale=0.01", "budget.min_gain=-1"],
            "budget.min_gain is -1.0; with budget.objective=gain_per_cost",
        ),
        (
            ["budget.floors={en->de: 0.5}", "budget.caps={en->de: 0.4}"],
            "budget.floors.en->de is 0.5, above budget.caps",
        ),
        (["budget.caps={en->de: 1.4}"], "budget.caps is {'en->de': 1.4}; it must be a mapping of strata"),
        (["guard.quality_predict=0.9"], "guard.quality_predict is 0.9, but router.kind=length predicts no quality"),
        (["guard.keep_better=0"], "guard.comet_qe.path is empty"),
        (["audit.rows=5", "audit.metric=chrf"], "audit.metric is chrf, but input.columns.reference is null"),
        (["models.small.pool.actors=0"], "models.small.pool.actors is 0; it must be an integer of at least 1"),
        (["models.small.engine=vlm"], f"models.small.engine is 'vlm'; it must be one of {', '.join(ENGINES)}"),
        (["models.large.engine=hf"], "models.large.path is empty"),
        (["input.shard_rows=1.5"], "input.shard_rows: Value '1.5'"),
        (["input.path=''"], "input.path is ''"),
        (["input.columns.source_lang=lang"], "input.columns.source_lang and input.source_lang are both set"),
        (["input.target_lang=null"], "input.columns.target_lang and input.target_lang are both null"),
        (["router.kind=probe"], "router.kind=probe needs a small model with prompt states"),
        (["router.kind=column"], "router.column is null"),
        (["seed=-1"], "seed is -1"),
        (["just-a-word"], "is not of the form key=value"),
    ],
)
def test_bad_configuration_names_field_value_and_bound(words: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        load(*words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "{hf_token: ABC}", "{api_key: ABC}", "{model_loader_extra_config: {aws_secret_access_key: ABC}}",
        "{a: [hf_ABCdefghijklmnop]}", "{HF_TOKEN: ABC}", "{request: {headers: {Authorization: Bearer ABCdefghij}}}",
    ],
)  # fmt: skip
def test_secrets_in_engine_arguments_are_refused_unseen(given: str) -> None:
    with pytest.raises(ValueError, match=r"vllm\.engine_args\..* looks like a secret") as error:
        load(f"models.small.vllm.engine_args={given}")
    assert "ABC" not in str(error.value)


def test_engine_arguments_about_tokens_are_no_secrets() -> None:
    given = {"max_num_batched_tokens": 5, "tokenizer_mode": "auto", "kv_cache_dtype": "fp8", "hf_token": True, "key": 3}
    words = ", ".join(f"{name}: {value}" for name, value in given.items())
    assert load(f"models.small.vllm.engine_args={{{words}}}").models.small.vllm.engine_args == given


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2]", "must be a mapping"), ("a: [", "not valid YAML"), ("budget: {rowz: 3}", "did you mean budget.rows?")],
)
def test_bad_files_are_named(tmp_path, content: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="c.yaml") as error:
        configlib.load(TranslateConfig, [str(path)], GOOD)
    assert message in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match="nowhere.yaml: no such file"):
        configlib.load(TranslateConfig, ["nowhere.yaml"], GOOD)


def test_help_shows_every_key_with_default_and_meaning(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        configlib.parse_args(TranslateConfig, "A job.", ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for key, _, _, _, doc in configlib.flatten(TranslateConfig):
        assert f"  {key}=" in text
        assert doc, f"{key} has no help"
        assert doc in text
    assert "budget.fraction=null" in text


def test_command_line_takes_files_and_words(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 5\n")
    config = configlib.parse_args(TranslateConfig, "", ["--config", str(path), *GOOD])
    assert config.seed == 5
    with pytest.raises(ValueError, match="unknown option --confg"):
        configlib.parse_args(TranslateConfig, "", ["--confg", str(path)])
    with pytest.raises(ValueError, match="--config needs the path"):
        configlib.parse_args(TranslateConfig, "", ["--config"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("./modles/small", "there is no such folder"), ("/nowhere/small", "there is no such folder"), ("a/b/c", "no such folder"),
        ("tests/small", "there is no such folder"), ("small/", "there is no such folder"), ("README.md", "a file; name the folder"),
        ("hf://org/small", "there is no such folder"),
    ],
)  # fmt: skip
def test_a_model_folder_that_is_not_there_is_refused_without_asking_the_hub(path: str, words: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=f"models.large.path is '{path}', .*{words}"):
        load("models.large.engine=hf", f"models.large.path={path}")


def test_hub_ids_and_folders_are_model_paths(tmp_path) -> None:
    for path in ("org/small-1.5B", "gpt2", str(tmp_path)):
        assert load("models.large.engine=hf", f"models.large.path={path}").models.large.path == path


ONCE = "input.duplicates=once"


@pytest.mark.parametrize(
    "more, said",
    [
        ([], "memory.path is m, but input.duplicates is each: a memory keeps segments; set input.duplicates=once"),
        ([ONCE, "audit.rows=5", "input.columns.reference=r"], "memory.path is m and audit.rows is 5"),
        ([ONCE, "budget.caps={a: 0.5}"], "memory.path is m and budget.caps is"),
        ([ONCE, "budget.floors={a: 0.5}"], "memory.path is m and budget.floors is"),
        ([ONCE, "guard.keep_better=0", "guard.judge=logprob"], "memory.path is m and guard.keep_better is 0"),
        ([ONCE, "guard.quality_hypo=0.5", "guard.judge=logprob"], "memory.path is m and guard.quality_hypo is 0.5"),
        ([ONCE, "checks.action=escalate"], "a check has the action escalate and input.duplicates is once"),
    ],
)
def test_what_does_not_go_with_a_memory_is_refused(more: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load("memory.path=m", *more)
    load("memory.path=m", ONCE, "guard.quality_hypo=null", "budget.strata=topic")
