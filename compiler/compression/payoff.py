"""Whether a compression step pays: what an artifact is before it and after it, on the validation samples."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecc.artifact import Figures, Format
from edgecc.compiler.backend.artifact_graph import read_graph
from edgecc.compiler.backend.sparsity import artifact_sparsity
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import UserCodeError
from edgecc.files import writing_to
from edgecc.samples import in_order
from edgecc.scoring import Scorer, Validation, read_validation

CORRECT = "correct.npy"


def evaluate(context: StageContext) -> Metrics:
    """Measure one artifact on all validation samples; write `correct.npy` (samples,), empty without classes.

    Options: `format` and `score` (the project's `[metrics]`).

    A metric of the user's own that fails on validation samples leaves the score unmeasured: an autoencoder's may be
    for labels that the test set alone has.

    Raises:
        ArtifactError: the runtime cannot run it.
        DataError: the samples are of other inputs than the artifact's.
        UserCodeError: a metric of the user's is missing.
    """
    path = context.inputs["artifact"]["artifact"]
    format = Format(context.options["format"])
    validation = read_validation(context.inputs["data"])
    inputs = in_order(validation.x, [tensor.name for tensor in read_graph(path, format).inputs])
    outputs = context.run_artifact(path, format, inputs).values
    correct = validation.correct(outputs)
    with writing_to(context.output_dir):
        np.save(context.output_dir / CORRECT, np.zeros(0, bool) if correct is None else correct)
    content = path.read_bytes()
    figures = Figures(
        size_bytes=len(content),
        compressed_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
        sparsity=artifact_sparsity(path, format),
        score=_score(context, validation, outputs),
        samples=len(validation),
    )
    return figures.model_dump(mode="json")


def _score(context: StageContext, validation: Validation, outputs: Sequence[Any]) -> float | None:
    scorer = Scorer(validation, context.options["score"], context.project_dir)
    try:
        return scorer(outputs)
    except UserCodeError as error:
        context.progress.note(f"the steps' score is unmeasured: {error.message}; {error.hint}")
        return None


def compare(context: StageContext) -> Metrics:
    """Compare the right answers before a step with those after it, by McNemar's exact test (McNemar 1947).

    Under the hypothesis that the step changed nothing, each sample on which the two differ was as likely lost as
    gained: the p-value is that of the two-sided binomial test.
    """
    before, after = (np.load(_correct(context, role)) for role in ("before", "after"))
    if not len(before) == len(after) > 0:
        return {}
    lost, gained = int(np.sum(before & ~after)), int(np.sum(~before & after))
    return {"lost": lost, "gained": gained, "p_value": p_value(lost, gained)}


def p_value(lost: int, gained: int) -> float:
    """The p-value of McNemar's exact test; 1 where no sample differs."""
    from scipy.stats import binomtest

    return 1.0 if lost + gained == 0 else float(binomtest(lost, lost + gained).pvalue)


def _correct(context: StageContext, role: str) -> Path:
    return context.inputs[role][CORRECT]
