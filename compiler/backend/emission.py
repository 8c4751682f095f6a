"""What emitting is in every format: read the Keras model, fold, freeze, convert, and look at what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, read_graph
from edgecc.compiler.backend.checks import unfolded_batch_norms
from edgecc.compiler.backend.fold import FoldedModel, fold_batch_normalization
from edgecc.compiler.backend.freeze import freeze
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.files import write_atomically

ARTIFACT = "artifact"
"""The name of the emitted file in the stage's output."""


@dataclass(frozen=True)
class Source:
    """A model that is ready to be converted."""

    folded: FoldedModel
    function: Any
    """From `freeze`."""

    @property
    def model(self) -> Any:
        """The folded Keras model."""
        return self.folded.model


def prepare(context: StageContext, *, needed_by: str) -> Source:
    """Read the stage's Keras model, fold its batch normalization and freeze it.

    Raises:
        ModelError: the model cannot be compiled.
    """
    fresh_keras(context.seed, needed_by=needed_by)
    folded = fold_batch_normalization(read_model(context))
    return Source(folded, freeze(folded.model))


def write_artifact(context: StageContext, content: bytes, format: Format) -> Graph:
    """Write the emitted bytes, and read back what they hold."""
    path = context.output_dir / ARTIFACT
    write_atomically(path, content)
    return read_graph(path, format)


def describe(source: Source, graph: Graph) -> Metrics:
    """What emission did: which batch normalizations were folded, and which operators are there."""
    return {
        "batch_norms_folded": len(source.folded.folded),
        "batch_norms_kept": dict(source.folded.kept),
        "unfolded_in_artifact": unfolded_batch_norms(graph),
        "operators": graph.operator_counts(),
    }
