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
        ('"int8"', '"int9"', "variants.int8.quantize.scheme", "Did you mean `int8`?"),
        ('name = "digits"', 'name = "../etc"', "name", "a name of letters"),
        ('"models:cnn"', '"models.cnn"', "model.builder", '"module:function"'),
        ('builder = "models:cnn"', "", "model", "either `builder` or `path`"),
        ("version = 1", "version = 2", "version", "one of `1`"),
        ('kind = "fake"', 'kind = "fake"\nnum_treads = 2', "targets.host.num_treads", "Did you mean `num_threads`?"),
        ('kind = "fake"', 'kind = "fake"\nnum_threads = "two"', "targets.host.num_threads", "valid integer"),
        ('[variants.float32]', '[train]\nepochs = 0\n[variants.float32]', "train.epochs", "greater than 0"),
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
        ("[variants.float32]", '[verify]\nmin_agreement_quantized = "150 %"\n[variants.float32]',
         "verify.min_agreement_quantized", "at most 100 %"),
        ("[variants.float32]", '[bench]\ntime_limit = "0 s"\n[variants.float32]', "bench.time_limit", "more than"),
    ],
)  # fmt: skip
def test_one_fault(tmp_path: Path, replace: str, by: str, key: str, says: str) -> None:
    assert replace in GOOD
    assert says in faults(tmp_path, GOOD.replace(replace, by))[key]


def test_the_schedules_own_keys_are_checked(tmp_path: Path) -> None:
    text = GOOD + '[train.learning_rate]\nschedule = "cosine"\ndecay_rate = 0.5\n'
    assert "`final`" in faults(tmp_path, text)["train.learning_rate.decay_rate"]
    text = GOOD + '[train.learning_rate]\nschedule = "cosin"\n'
    assert "Did you mean `cosine`?" in faults(tmp_path, text)["train.learning_rate"]


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
