"""What emitting is in every format: read the Keras model, fold, freeze, convert, and look at what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, read_graph
from edgecc.compiler.backend.checks import unfolded_batch_norms
from edgecc.compiler.backend.fold import FoldedModel, fold_batch_normalization
from edgecc.compiler.backend.freeze import freeze, interface_of
from edgecc.compiler.backend.unroll import unroll_recurrent
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.files import write_atomically

ARTIFACT = "artifact"
"""The name of the emitted file in the stage's output."""
LAYERS = "layers.json"
"""Beside it: the path of the Keras layer by the name of each tensor that an operator of the artifact gives."""


@dataclass(frozen=True)
class Source:
    """A model that is ready to be converted."""

    folded: FoldedModel
    function: Any
    """From `freeze`."""

    @property
    def model(self) -> Any:
        """The Keras model as it was converted: folded and unrolled."""
        return self.folded.model


def prepare(context: StageContext, *, needed_by: str, batch_size: int | None = 1) -> Source:
    """Read the stage's Keras model, fold its batch normalization, unroll its recurrent layers and freeze it.

    Args:
        context: of the stage.
        needed_by: what says so where TensorFlow is missing.
        batch_size: of `freeze`.

    Raises:
        ModelError: the model cannot be compiled.
    """
    fresh_keras(context.seed, needed_by=needed_by)
    model = read_model(context)
    folded = fold_batch_normalization(model)
    folded = replace(folded, model=unroll_recurrent(folded.model))
    return Source(folded, freeze(folded.model, interface_of(model), batch_size))


def write_artifact(context: StageContext, content: bytes, format: Format) -> Graph:
    """Write the emitted bytes, and read back what they hold."""
    path = context.output_dir / ARTIFACT
    write_atomically(path, content)
    return read_graph(path, format)


def write_layers(context: StageContext, layers: Mapping[str, str]) -> None:
    """Write which Keras layer each tensor of the artifact came from."""
    write_atomically(context.output_dir / LAYERS, json.dumps(layers, indent=1) + "\n")


def describe(source: Source, graph: Graph) -> Metrics:
    """What emission did: which batch normalizations were folded, and which operators are there."""
    return {
        "batch_norms_folded": len(source.folded.folded),
        "batch_norms_kept": dict(source.folded.kept),
        "unfolded_in_artifact": unfolded_batch_norms(graph),
        "operators": graph.operator_counts(),
    }
