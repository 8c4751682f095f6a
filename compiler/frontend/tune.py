"""The tune stage: Keras Tuner's oracles propose hyperparameters, each trial is trained from its own seed.

Every finished trial is written to a journal in the work folder. A search that was killed is run again from its
beginning with the journal at hand: the oracle, seeded and told the same results, proposes the same trials, and
those that are in the journal are not trained again. So a search that was interrupted ends like one that was not,
which Keras Tuner's own resuming does not give (it loses the state of its Bayesian oracle, for one).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from edgecc.artifact import Record
from edgecc.compiler.frontend.model import Pinned, check_names
from edgecc.compiler.frontend.precision import Precision, resolve_precision
from edgecc.compiler.frontend.train import TrainingData, fit, prepare_model, read_training_data
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import EdgeccError, MissingExtraError, ModelError
from edgecc.files import write_atomically
from edgecc.progress import Task
from edgecc.training import ModelSection, TrainSection, TuneSection
from edgecc.user_code import load_entry_point

_OWN_KEYS = "tuner/"
"""Hyperband notes its rounds among the hyperparameters, under this prefix."""


class TrialRecord(Record):
    """A finished trial, as the journal keeps it."""

    id: str
    proposed: Mapping[str, Any]
    """The values that the oracle proposed, its own notes included."""
    hyperparameters: Mapping[str, Any]
    """Keras Tuner's configuration after the trial: its values, and the space that the builder turned out to have."""
    status: Literal["completed", "failed"]
    reason: str | None
    score: float | None
    epochs: int
    duration_s: float

    @property
    def values(self) -> dict[str, Any]:
        """The hyperparameters by name, without Hyperband's notes."""
        values = self.hyperparameters["values"]
        return {name: values[name] for name in sorted(values) if not name.startswith(_OWN_KEYS)}


@dataclass(frozen=True)
class _Search:
    """What all trials of a search have in common."""

    seed: int
    section: ModelSection
    settings: TrainSection
    tune: TuneSection
    data: TrainingData
    precision: Precision
    builder: Callable[..., Any]
    journal: Path
    task: Task


def tune(context: StageContext) -> Metrics:
    """Search hyperparameters on the validation set; write `hp.json` (the winner's) and `trials.json`.

    Raises:
        UserCodeError: the builder is missing, or raises for its default hyperparameters.
        ModelError: every trial failed, or there is nothing to search.
        MissingExtraError: Keras Tuner, or what its Bayesian oracle needs, is not installed.
    """
    section = ModelSection.model_validate(context.options["model"])
    settings = TrainSection.model_validate(context.options["train"])
    tune_section = TuneSection.model_validate(context.options["tune"])
    data = read_training_data(context)
    _check_objective(tune_section, data)
    fresh_keras(context.seed, needed_by="the tune stage")
    builder = load_entry_point(str(section.builder), context.project_dir)
    with context.progress.task("tune", total=tune_section.max_trials) as task:
        search = _Search(
            context.seed, section, settings, tune_section, data, resolve_precision(settings.precision), builder,
            context.work_dir / "trials", task,
        )  # fmt: skip
        trials = _run(search, context.work_dir)
    best = _best(trials, tune_section)
    _write_json(context.output_dir / "hp.json", best.values)
    published = {"objective": tune_section.objective, "best": best.id, "trials": [_published(each) for each in trials]}
    _write_json(context.output_dir / "trials.json", published)
    failed = [trial for trial in trials if trial.status == "failed"]
    for reason, count in Counter(str(trial.reason) for trial in failed).most_common(3):
        context.progress.note(f"tune: {count} of {len(trials)} trials failed: {reason}")
    return {
        "trials": len(trials),
        "failed": len(failed),
        "reasons": dict(Counter(str(trial.reason) for trial in failed)),
        "objective": tune_section.objective,
        "best_trial": best.id,
        "best_score": best.score,
        "durations_s": {trial.id: trial.duration_s for trial in trials},
    }


def _check_objective(tune_section: TuneSection, data: TrainingData) -> None:
    if tune_section.objective == "val_accuracy" and data.description.task != "classification":
        raise ModelError("tune.objective: val_accuracy needs classes", hint='set `objective = "val_loss"`')


def _run(search: _Search, work_dir: Path) -> list[TrialRecord]:
    """Run, or go on with, the search; its trials in the order in which they were begun."""
    keras_tuner = _keras_tuner()
    records: list[TrialRecord] = []

    def build(hp: Any) -> Any:
        return search.builder(Pinned(hp, search.section.hp))

    # The journal is what survives a kill; Keras Tuner's own state is made anew from it.
    tuner = _tuner_class(keras_tuner, search, records)(
        oracle=_oracle(keras_tuner, search.tune, search.seed), hypermodel=build, directory=str(work_dir),
        project_name="keras_tuner", overwrite=True,
    )  # fmt: skip
    check_names(search.section.hp, tuner.oracle.get_space(), str(search.section.builder))
    _check_space(tuner.oracle.get_space(), search.section)
    try:
        tuner.search(verbose=0)
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    return records


def _tuner_class(keras_tuner: Any, search: _Search, records: list[TrialRecord]) -> Any:
    class Tuner(keras_tuner.Tuner):  # type: ignore[misc]
        def run_trial(self, trial: Any, *_args: Any, **_kwargs: Any) -> dict[str, float]:
            try:
                record = _recorded(search.journal, trial) or _run_and_record(search, trial)
            except Exception as error:  # a full disk, say: Keras Tuner would take it for the trial's failure
                raise keras_tuner.errors.FatalError("the journal cannot be written") from error
            records.append(record)
            search.task.advance()
            trial.hyperparameters = keras_tuner.HyperParameters.from_config(record.hyperparameters)
            if record.score is None:
                raise keras_tuner.errors.FailedTrialError(record.reason)
            return {search.tune.objective: record.score}

    return Tuner


def _keras_tuner() -> Any:
    try:
        import keras_tuner
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="the tune stage", library="Keras Tuner", extra="compile") from error
    return keras_tuner


def _oracle(keras_tuner: Any, tune_section: TuneSection, seed: int) -> Any:
    oracles = keras_tuner.oracles
    # Keras Tuner takes a seed of 0 for none, and draws one.
    common = {"objective": _objective(keras_tuner, tune_section), "seed": seed + 1}
    # It gives up after some failures in a row; here the search goes on, and all of them are told.
    common["max_consecutive_failed_trials"] = tune_section.max_trials + 1
    match tune_section.strategy:
        case "hyperband":
            oracle = oracles.HyperbandOracle(max_epochs=tune_section.epochs, **common)
            oracle.max_trials = tune_section.max_trials
            return oracle
        case "random":
            return oracles.RandomSearchOracle(max_trials=tune_section.max_trials, **common)
        case "grid":
            return oracles.GridSearchOracle(max_trials=tune_section.max_trials, **common)
        case "bayesian":
            try:
                return oracles.BayesianOptimizationOracle(max_trials=tune_section.max_trials, **common)
            except ImportError as error:
                raise MissingExtraError(
                    needed_by="the Bayesian search", library="scikit-learn", extra="compile"
                ) from error


def _objective(keras_tuner: Any, tune_section: TuneSection) -> Any:
    return keras_tuner.Objective(tune_section.objective, direction="min" if _lower_is_better(tune_section) else "max")


def _lower_is_better(tune_section: TuneSection) -> bool:
    return tune_section.objective == "val_loss"


def _check_space(space: Any, section: ModelSection) -> None:
    if all(type(parameter).__name__ == "Fixed" for parameter in space.space):
        raise ModelError(
            f"nothing to tune: {section.builder} asks for no hyperparameter that is not fixed",
            hint="call hp.Int, hp.Float, hp.Choice or hp.Boolean in the builder, or drop [tune]",
        )


def _recorded(journal: Path, trial: Any) -> TrialRecord | None:
    """What the journal says of this trial, if it finished and was proposed the same values."""
    try:
        record = TrialRecord.model_validate_json((journal / f"{trial.trial_id}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.proposed == dict(trial.hyperparameters.values) else None


def _run_and_record(search: _Search, trial: Any) -> TrialRecord:
    proposed = dict(trial.hyperparameters.values)
    start = time.perf_counter()
    scores: list[float] = []
    reason = None
    try:
        scores = _scores_by_epoch(search, trial)
    except EdgeccError as error:
        reason = error.message
    except Exception as error:  # whatever a builder or TensorFlow raises fails this trial, not the search
        reason = f"{type(error).__name__}: {error}"
    best = min if _lower_is_better(search.tune) else max
    record = TrialRecord(
        id=trial.trial_id,
        proposed=proposed,
        hyperparameters=trial.hyperparameters.get_config(),
        status="completed" if scores else "failed",
        reason=reason,
        score=best(scores) if scores else None,
        epochs=len(scores),
        duration_s=time.perf_counter() - start,
    )
    write_atomically(search.journal / f"{record.id}.json", record.model_dump_json())
    return record


def _scores_by_epoch(search: _Search, trial: Any) -> list[float]:
    seed = _trial_seed(search.seed, trial.trial_id)
    keras = fresh_keras(seed, needed_by="the tune stage")
    epochs = trial.hyperparameters.values.get(f"{_OWN_KEYS}epochs", search.tune.epochs)
    search.task.describe(f"trial {trial.trial_id}, {epochs} epochs")
    hp = Pinned(trial.hyperparameters, search.section.hp)
    model = prepare_model(
        keras, search.builder, hp, search.section, search.settings, search.precision, search.data, seed
    )
    history = fit(keras, model, search.data, search.settings, epochs=epochs, callbacks=[])
    return history[search.tune.objective]


def _trial_seed(seed: int, trial_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{trial_id}".encode()).digest()[:4], "big") >> 1


def _best(trials: list[TrialRecord], tune_section: TuneSection) -> TrialRecord:
    """The trial with the best score; the earliest of equals."""
    scored = [(trial.score, trial) for trial in trials if trial.score is not None]
    if not scored:
        reason, count = Counter(str(trial.reason) for trial in trials).most_common(1)[0]
        raise ModelError(f"all {len(trials)} trials failed, {count} of them because: {reason}")
    sign = 1 if _lower_is_better(tune_section) else -1
    return min(scored, key=lambda pair: sign * pair[0])[1]


def _published(trial: TrialRecord) -> dict[str, Any]:
    kept = ("id", "status", "reason", "score", "epochs")
    return {"values": trial.values} | {name: getattr(trial, name) for name in kept}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
