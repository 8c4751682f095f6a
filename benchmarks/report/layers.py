"""How far each layer of a quantized artifact is from the float one, in words."""

from __future__ import annotations

from edgecc.benchmarks.report.summary import plain
from edgecc.results import ArtifactLayers, LayerError


def layer_cells(artifact: ArtifactLayers) -> list[tuple[str, str, str, str, str]]:
    """Layer, operator, SQNR, cosine and whether it was kept in float, of each layer, the worst first."""
    return [
        (plain(layer.layer), plain(layer.operator), sqnr(layer), f"{layer.cosine:.5f}", "kept" if layer.kept else "")
        for layer in artifact.worst_first()
    ]


def sqnr(layer: LayerError) -> str:
    """The signal-to-quantization-noise ratio of a layer."""
    return "no error" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f} dB"


def worst_layers(artifact: ArtifactLayers, count: int) -> str:
    """The worst layers of an artifact in a sentence."""
    named = [
        f"{plain(layer.layer)} {sqnr(layer)}" + (" (kept in float)" if layer.kept else "")
        for layer in artifact.worst_first()[:count]
    ]
    return f"{plain(artifact.variant)} ({artifact.format}): the layers with the largest error: {', '.join(named)}"
