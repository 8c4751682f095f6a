"""The project file: everything that is wrong, at once, with where, what was expected and the nearest spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecc.artifact import Format
from edgecc.errors import ProjectError
from edgecc.project import Project
from edgecc.project_file import load_project
from edgecc.section import Section

GOOD = """
version = 1
name = "digits"
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
[variants.int8]
quantize = "int8"
[targets.host]
kind = "fake"
"""


OWN = """
[metrics.auc]
function = "mine:auc"
[metrics.loss]
function = "mine:loss"
better = "lower"
"""


class FakeOptions(Section):
    """The keys of a kind of target that only these tests know."""

    num_threads: int = 1


def load(folder: Path, text: str) -> Project:
    (folder / "edgecc.toml").write_text(text)
    return load_project(folder, {"fake": FakeOptions}).project


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ProjectError) as caught:
        load(folder, text)
    return {fault.key: str(fault) for fault in caught.value.faults}


def test_a_good_project(tmp_path: Path) -> None:
    project = load(tmp_path, GOOD)
    assert project.shipped == ("float32", "int8")
    assert project.reference_variant == "float32"
    assert list(project.emitted()) == [("float32", Format.TFLITE), ("int8", Format.TFLITE)]


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("builder", "bilder").replace("quantize", "quantise").replace('"fake"', '"fkae"')
    text = text.replace("version = 1", 'version = 1\nsead = 3\nship = ["int9"]')
    text += '[[budgets]]\nmetric = "latency.p9"\nmax = "2 ms"\n[[budgets]]\nmetric = "size"\nmax = "2 ms"\n'
    found = faults(tmp_path, text)
    assert "Did you mean `builder`?" in found["model.bilder"]
    assert "Did you mean `seed`?" in found["sead"]
    assert "Did you mean `quantize`?" in found["variants.int8.quantise"]
    assert "Did you mean `latency.p99`?" in found["budgets[0].metric"]
    assert '"350 kB"' in found["budgets[1].max"]
    assert "got '2 ms'" in found["budgets[1].max"]
    assert "Did you mean `fake`?" in found["targets.host.kind"]


@pytest.mark.parametrize(
    ("replace", "by", "key", "says"),
    [
        ('"int8"', '"int9"', "variants.int8.quantize", "Did you mean `int8`?"),
        ('name = "digits"', 'name = "../etc"', "name", "a name of letters"),
        ('"models:cnn"', '"models.cnn"', "model.builder", '"module:function"'),
        ('builder = "models:cnn"', "", "model", "either `builder` or `path`"),
        ("version = 1", "version = 2", "version", "one of `1`"),
        ('kind = "fake"', 'kind = "fake"\nnum_treads = 2', "targets.host.num_treads", "Did you mean `num_threads`?"),
        ('kind = "fake"', 'kind = "fake"\nnum_threads = "two"', "targets.host.num_threads", "valid integer"),
        ('[variants.float32]', '[train]\nepochs = -1\n[variants.float32]', "train.epochs", "than or equal to 0"),
        ('loader = "edgecc:digits"', "", "data.loader", "this key is required"),
        ("[variants.float32]", "[variants.float32]\nformats = []", "variants.float32.formats", "at least one"),
        ("[variants.float32]", '[variants."trials.json"]', "variants", "no file of the build folder"),
        ("version = 1", "version = 1\nseed = 4294967296", "seed", "less than 4294967296"),
        ("version = 1", "version = 1\nship = 'int8'", "ship", "a list"),
        ("version = 1", "version = 1\nship = ['int8', 'int8']", "ship", "each once"),
        ("[variants.float32]", "[train]\nepochs = true\n[variants.float32]", "train.epochs", "integer"),
        ("[variants.float32]", "[[budgets]]\nmetric = 'accuracy'\nmax_drop = '1 pp'\nvariant = 'float32'\n"
         "[variants.float32]", "budgets[0]", "a variant to compare with float32"),
        ("[variants.float32]", '[train.learning_rate]\nschedule = "step"\npatience = 3\n[variants.float32]',
         "train.learning_rate.patience", "one of `every_epochs`, `factor`, `initial`, `schedule`, `warmup_epochs`"),
        ("[variants.float32]", '[emit]\nformats = ["onnx", "onnx"]\n[variants.float32]', "emit.formats", "each once"),
        ("[variants.float32]", '[emit]\ndynamic_batch = true\n[variants.float32]', "emit.dynamic_batch",
         "a variant in onnx, which alone it changes"),
        ("[variants.float32]", '[verify]\nmin_agreement_quantized = "150 %"\n[variants.float32]',
         "verify.min_agreement_quantized", "at most 100 %"),
        ("[variants.float32]", '[bench]\ntime_limit = "0 s"\n[variants.float32]', "bench.time_limit", "more than"),
        ("[variants.float32]", '[variants."a b"]', "variants.a b", "a name of letters"),
        ("[variants.float32]", '[variants.channel.prune]\nmethod = "channel"\nsparsity = 2',
         "variants.channel.prune.sparsity", "less than 1"),
        ("version = 1", "version = 1\nbudgets = 'size'", "budgets", "written [[budgets]]"),
    ],
)  # fmt: skip
def test_one_fault(tmp_path: Path, replace: str, by: str, key: str, says: str) -> None:
    assert replace in GOOD
    assert says in faults(tmp_path, GOOD.replace(replace, by))[key]


def test_the_schedules_own_keys_are_checked(tmp_path: Path) -> None:
    text = GOOD + '[train.learning_rate]\nschedule = "cosine"\ndecay_rate = 0.5\n'
    assert "`final`" in faults(tmp_path, text)["train.learning_rate.decay_rate"]
    text = GOOD + '[train.learning_rate]\nschedule = "cosin"\n'
    assert "Did you mean `cosine`?" in faults(tmp_path, text)["train.learning_rate.schedule"]


@pytest.mark.parametrize(
    ("budget", "key", "says"),
    [
        ('metric = "size"\nmax = "1 kB"\nvariant = "int4"', "budgets[0].variant", "Did you mean `int8`?"),
        ('metric = "size"\nmax = "1 kB"\ntarget = "hots"', "budgets[0].target", "Did you mean `host`?"),
        ('metric = "size"\nmax = "1 kB"\nformat = "onnx"', "budgets[0].format", "`tflite`"),
        ('metric = "accuracy"\nmax_drop = "1 pp"\nagainst = "fp32"', "budgets[0].against", "`float32`"),
        ('metric = "accuracy"\nmax_drop = "1 %"', "budgets[0].max_drop", "percentage points"),
        ('metric = "accuracy"\nmax = "97 %"', "budgets[0]", "exactly one of `min`, `max_drop`"),
        ('metric = "size"', "budgets[0]", "exactly one of `max`"),
        ('metric = "size"\nmax = "1 kB"\nagainst = "float32"', "budgets[0]", "`against` only together"),
        ('metric = "agreement.top1"\nmax_drop = "1 pp"', "budgets[0]", "only for accuracy"),
        ('metric = "size"\nmax = "1 kB"\nseverity = "warning"', "budgets[0].severity", "Did you mean `warn`?"),
        ('metric = "size"\nmax = 350', "budgets[0].max", 'a quantity like "350 kB"'),
        ('metric = "size"\nmax = true', "budgets[0].max", 'a quantity like "2 ms"'),
        ('metric = "user.acu"\nmin = 0.9', "budgets[0].metric", "Did you mean `user.auc`?"),
        ('metric = "user.auc"\nmax = 0.9', "budgets[0].max", "`min` or `max_drop`: of user.auc more is better"),
        ('metric = "user.loss"\nmin = 0.9', "budgets[0].min", "`max` or `max_drop`: of user.loss more is worse"),
        ('metric = "user.auc"\nmin = "2 ms"', "budgets[0].min", '0.95 or "95 %"'),
        ('metric = "user.auc"\nmin = 0.9\nmax_drop = 0.1', "budgets[0]", "exactly one of"),
        ('metric = "user.auc"\nmax_drop = -1', "budgets[0].max_drop", "0 or more"),
        ('metric = "user.auc"\nmin = nan', "budgets[0].min", "finite"),
        ('metric = "user.auc"\nmax_drop = 0\nagainst = "fp32"', "budgets[0].against", "`float32`"),
    ],
)
def test_budgets_that_judge_nothing_or_nonsense(tmp_path: Path, budget: str, key: str, says: str) -> None:
    assert says in faults(tmp_path, f"{GOOD}{OWN}[[budgets]]\n{budget}\n")[key]


def test_a_value_of_none_of_several_types_is_one_fault(tmp_path: Path) -> None:
    text = GOOD + '[variants.small.distill]\nstudent = "models:student"\nhp = { width = { choice = [8] } }\n'
    assert faults(tmp_path, text) == {
        "variants.small.distill.hp.width": (
            "variants.small.distill.hp.width: expected a valid boolean or a valid integer or a valid number or a valid "
            "string; got a table with `choice`."
        )
    }


def test_metrics_of_the_users_own(tmp_path: Path) -> None:
    budgets = [
        'metric = "user.auc"\nmin = 0.9', 'metric = "user.loss"\nmax = "5 %"',
        'metric = "user.loss"\nmax_drop = "1 pp"\nvariant = "int8"',
    ]  # fmt: skip
    project = load(tmp_path, GOOD + OWN + "".join(f"[[budgets]]\n{budget}\n" for budget in budgets))
    assert [budget.limit for budget in project.budgets] == [0.9, 0.05, 0.01]
    assert [budget.in_words() for budget in project.budgets] == [
        "at least 0.9", "at most 5 %", "at most 1 pp worse than float32",
    ]  # fmt: skip
    assert (project.all_metrics["user.auc"].better, project.all_metrics["user.loss"].better) == ("higher", "lower")


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ('function = "mine"', "metrics.auc.function", '"module:function"'),
        ('function = "mine:auc"\nbetter = "hihger"', "metrics.auc.better", "Did you mean `higher`?"),
        ('function = "mine:auc"\nbeter = "higher"', "metrics.auc.beter", "Did you mean `better`?"),
        ("", "metrics.auc.function", "required"),
    ],
)
def test_faults_of_the_users_metrics(tmp_path: Path, table: str, key: str, says: str) -> None:
    assert says in faults(tmp_path, f"{GOOD}[metrics.auc]\n{table}\n")[key]


def test_a_budget_without_any_target_to_measure_on(tmp_path: Path) -> None:
    text = GOOD.replace('[targets.host]\nkind = "fake"\n', "") + '[[budgets]]\nmetric = "latency.p90"\nmax = "1 ms"\n'
    assert "a target to measure latency.p90 on" in faults(tmp_path, text)["budgets[0]"]


def test_a_format_that_cannot_be_quantized_is_an_error(tmp_path: Path) -> None:
    text = GOOD.replace('quantize = "int8"', 'quantize = "int16x8"') + '[emit]\nformats = ["tflite", "onnx"]\n'
    assert "set variants.int8.formats" in faults(tmp_path, text)["variants.int8.quantize"]


SEARCH = """
[[budgets]]
metric = "size"
max = "8 kB"
[[budgets]]
metric = "accuracy"
max_drop = "1 pp"
[search]
[search.variants.small]
"""
DISTILL = '[search.variants.small.distill]\nstudent = "models:student"\n'


def test_a_good_search(tmp_path: Path) -> None:
    text = GOOD + SEARCH + 'quantize = { choice = ["int8", "float16"] }\n' + DISTILL
    text += "hp = { width = { choice = [8, 12] }, depth = { low = 1, high = 3 } }\n"
    text += 'learning_rate = { schedule = "cosine", initial = { low = 1e-4, high = 1e-2, log = true } }\n'
    text += "[search.variants.int8]\nquantize = 'int8'\n"
    search = load(tmp_path, text).search
    assert search is not None
    small, int8 = search.open_variants([Format.TFLITE, Format.ONNX])
    names = ["quantize", "distill.hp.width", "distill.hp.depth", "distill.learning_rate.initial", "formats"]
    assert [option.name for option in small.options] == names
    assert int8.count == 2


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # Open options that cannot be read.
        (f"{DISTILL}alpha = {{ low = 0.5, high = 0.2 }}",
         ["distill.alpha.high: expected more than `low` = 0.5; got 0.2."]),
        (f"{DISTILL}alpha = {{ low = 0.5 }}",
         ["distill.alpha.high: expected a value: this key is required; got nothing."]),
        (f"{DISTILL}views = {{ low = true, high = nan }}",
         ["distill.views.low: expected a number; got True.", "distill.views.high: expected a finite number; got nan."]),
        (f"{DISTILL}views = {{ low = 1, high = 9, setp = 2 }}",
         ["distill.views.setp: expected one of `low`, `high`, `step`, `log`; got an unknown key. "
          "Did you mean `step`?"]),
        ("quantize = { choice = [] }",
         ["quantize.choice: expected at least one value, and each once; got []."]),
        ('quantize = { choice = "int8" }', ["quantize.choice: expected a list; got 'int8'."]),
        ('quantize = { choice = ["int8"], log = true }',
         ["quantize.log: expected one of `choice`; got an unknown key."]),
        ("prune = { method = { low = 1 }, sparsity = 0.5 }",
         ["prune.method.high: expected a value: this key is required; got nothing."]),
        # What would have left an option open.
        (f"{DISTILL}epochs = {{ chioce = [20, 40] }}",
         ["distill.epochs: expected a valid integer; got a table with `chioce`. Did you mean `choice`?"]),
        ('prune = { chioce = ["channel"] }',
         ["prune: expected a table with a `method`; got a table with `chioce`. Did you mean `choice`?"]),
        ('quantize = { scheme = "int8", keep = [{ choice = ["dense"] }] }',
         ["quantize.keep[0]: expected a valid string; got a table with `choice`."]),
        # Values that no option may have.
        (f"{DISTILL}hp = {{ width = {{ choice = [8, [1]] }} }}",
         ["distill.hp.width: expected a valid boolean or a valid integer or a valid number or a valid string; "
          "got [1]."]),
        (f"{DISTILL}views = {{ low = 1, high = 2.5 }}",
         ["distill.views: expected a valid integer; got 1.0.", "distill.views: expected a valid integer; got 2.5."]),
        (f"{DISTILL}alpha = {{ choice = [2, 0.5] }}\nepochs = {{ choice = [20, 40] }}",
         ["distill.alpha: expected less than or equal to 1; got 2."]),
        (f"{DISTILL}alpha = {{ low = -1, high = 2 }}",
         ["distill.alpha: expected greater than or equal to 0; got -1.",
          "distill.alpha: expected less than or equal to 1; got 2."]),
        ('quantize = { choice = ["int8", "int9"] }',
         ["quantize: expected one of `int8`, `int16x8`, `weight_only`, `dynamic`, `float16`; got 'int9'. "
          "Did you mean `int8`?"]),
        ('prune = { method = { choice = ["chanel", "magnitude"] }, sparsity = 0.5 }',
         ["prune.method: expected one of `magnitude`, `channel`; got 'chanel'. Did you mean `channel`?"]),
        ('prune = { choice = [{ method = "channel", sparsity = 0.5 }, { method = "channel", sparsity = 2 }] }',
         ["prune.choice[1].sparsity: expected less than 1; got 2."]),
        ('formats = { choice = [["tflite"], ["onxn"]] }',
         ["formats.choice[1][0]: expected one of `tflite`, `onnx`; got 'onxn'. Did you mean `onnx`?"]),
        ('formats = { choice = [["tflite"], ["tflite", "onnx"]] }',
         ["formats.choice[1]: expected one format: a recipe is emitted in one; got ['tflite', 'onnx']."]),
        ('prune = { method = "magnitude", sparsity = 0.5, epochs = { choice = [0, 5] } }',
         ["prune.epochs: expected at least 1: polynomial decay prunes while it trains; got 0."]),
        # What is not open is checked as well, once.
        (f"quantise = 'int8'\n{DISTILL}hp = {{ width = {{ choice = [8, 12] }} }}\nviews = {{ choice = [1, 2] }}\n"
         "augment = 'data:flip'",
         ["quantise: expected one of `distill`, `formats`, `prune`, `quantize`; got an unknown key. "
          "Did you mean `quantize`?"]),
        ('formats = ["tflite", "onxn"]',
         ["formats[1]: expected one of `tflite`, `onnx`; got 'onxn'. Did you mean `onnx`?"]),
        ("formats = []", ["formats: expected at least one, and each once; got []."]),
        # Formats that cannot be quantized so, whatever is chosen.
        ('quantize = "int16x8"\nformats = ["onnx"]',
         ["quantize: expected a format that can be int16x8: `tflite` (set search.variants.small.formats); got onnx."]),
        ('quantize = { scheme = { choice = ["int16x8", "weight_only"] }, per_channel = true }\nformats = ["onnx"]',
         ["quantize: expected a format that can be int16x8 or weight_only: `tflite` "
          "(set search.variants.small.formats); got onnx."]),
    ],
)  # fmt: skip
def test_faults_of_open_variants(tmp_path: Path, table: str, expected: list[str]) -> None:
    with pytest.raises(ProjectError) as caught:
        load(tmp_path, f"{GOOD}{SEARCH}{table}\n")
    assert [str(fault) for fault in caught.value.faults] == [f"search.variants.small.{fault}" for fault in expected]


def test_faults_of_all_open_variants_are_reported_with_those_of_the_project(tmp_path: Path) -> None:
    text = GOOD.replace("builder", "bilder") + SEARCH.replace("[search]", "[search]\nmax_trails = 3")
    text += "quantize = { choice = ['int9'] }\n[search.variants.other]\nquantize = { choice = [] }\n"
    found = faults(tmp_path, text)
    assert "Did you mean `max_trials`?" in found["search.max_trails"]
    assert {"model.bilder", "search.variants.small.quantize", "search.variants.other.quantize.choice"} < found.keys()


@pytest.mark.parametrize(
    ("table", "formats"),
    [
        ('quantize = { choice = ["int16x8", "int8"] }\nformats = ["onnx"]', "onnx"),
        ('quantize = "int16x8"\nformats = ["onnx", "tflite"]', "onnx"),
        ('quantize = "int16x8"', "tflite"),
        # The scheme that fits has another calibration than the first.
        ('formats = ["onnx"]\n[search.variants.small.quantize]\nscheme = { choice = ["int16x8", "float16"] }\n'
         'calibration = { choice = ["mse", "min_max"] }', "tflite"),
        ("", "onnx"),
    ],
)  # fmt: skip
def test_some_formats_or_schemes_fit(tmp_path: Path, table: str, formats: str) -> None:
    assert load(tmp_path, f'{GOOD}[emit]\nformats = ["{formats}"]\n{SEARCH}{table}\n').search is not None


@pytest.mark.parametrize(
    ("search", "key", "says"),
    [
        ("[search]", "search.variants", "required"),
        ("[search.variants]", "search.variants", "at least one"),
        ("[search]\nvariants = 3", "search.variants", "a table"),
        ("[search.variants]\nsmall = 3", "search.variants.small", "a table"),
        ('[search.variants."a b"]', "search.variants.a b", "a name of letters"),
        ("[search]\nshort = 1\n[search.variants.small]", "search.short", "less than 1"),
        ("[search]\nmax_trials = 0\n[search.variants.small]", "search.max_trials", "greater than 0"),
        ("[search]\ntime_limit = 30\n[search.variants.small]", "search.time_limit", '"2 ms"'),
    ],
)
def test_faults_of_the_search_itself(tmp_path: Path, search: str, key: str, says: str) -> None:
    found = faults(tmp_path, f"{GOOD}{search}\n")
    assert list(found) == [key]
    assert says in found[key]


SIZE, ACCURACY = 'metric = "size"\nmax = "1 kB"', 'metric = "accuracy"\nmin = "90 %"'
NOT_COUNTED = '; those with `variant`, `max_regression` or severity "warn" do not count.'


@pytest.mark.parametrize(
    ("budgets", "given"),
    [
        ([], "got none."),
        ([SIZE], "got budgets on `size`."),
        ([ACCURACY], "got budgets on `accuracy`."),
        ([SIZE, 'metric = "agreement.top1"\nmin = "90 %"'], "got budgets on `size`, `agreement.top1`."),
        ([SIZE, 'metric = "user.loss"\nmax = 0.1'], "got budgets on `size`, `user.loss`."),
        ([ACCURACY, 'metric = "user.auc"\nmin = 0.9'], "got budgets on `accuracy`, `user.auc`."),
        ([SIZE, f'{ACCURACY}\nvariant = "int8"'], f"got budgets on `size`{NOT_COUNTED}"),
        ([SIZE, f'{ACCURACY}\nseverity = "warn"'], f"got budgets on `size`{NOT_COUNTED}"),
        ([f'{SIZE}\nvariant = "int8"'], f"got none{NOT_COUNTED}"),
        ([ACCURACY, 'metric = "size"\nmax_regression = "1 %"'], f"got budgets on `accuracy`{NOT_COUNTED}"),
    ],
)
def test_a_search_needs_a_score_to_keep_and_a_cost_to_cut(tmp_path: Path, budgets: list[str], given: str) -> None:
    text = GOOD + OWN + "".join(f"[[budgets]]\n{budget}\n" for budget in budgets)
    assert faults(tmp_path, f"{text}[search.variants.small]\n") == {
        "search": "search: expected at least one budget on accuracy or on the first metric of your own, and one on a "
        f"cost such as size or latency; {given}"
    }


@pytest.mark.parametrize(
    "score", [ACCURACY, 'metric = "accuracy"\nmax_drop = "1 pp"', 'metric = "user.auc"\nmin = 0.9']
)
@pytest.mark.parametrize("cost", [SIZE, 'metric = "latency.p90"\nmax = "1 ms"', 'metric = "throughput"\nmin = "9 /s"'])
def test_budgets_that_a_search_can_judge(tmp_path: Path, score: str, cost: str) -> None:
    budgets = f"[[budgets]]\n{score}\n[[budgets]]\n{cost}\n"
    assert load(tmp_path, f"{GOOD}{OWN}{budgets}[search.variants.small]\n").search is not None


def test_files_that_are_no_projects(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such file") as caught:
        load_project(tmp_path, {})
    assert "edgecc init" in str(caught.value.hint)
    (tmp_path / "edgecc.toml").write_text("name = ")
    with pytest.raises(ProjectError, match="valid TOML"):
        load_project(tmp_path, {})
    (tmp_path / "edgecc.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProjectError, match="can be read"):
        load_project(tmp_path, {})
