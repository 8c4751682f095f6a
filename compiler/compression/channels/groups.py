"""Which channels hang together: labels are followed through a Keras graph, and tied where layers tie them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgecc.compiler.compression.channels.layers import Call, Flow, UnfollowedError, Weight, follow
from edgecc.compiler.compression.channels.ties import Labels, Ties
from edgecc.errors import ModelError


@dataclass(frozen=True)
class FollowedLayer:
    """A layer whose channels are known. Layers of nested models are `outer/inner`."""

    layer: Any
    path: str
    flow: Flow

    @property
    def is_producer(self) -> bool:
        """Whether it makes channels of its own."""
        return any(weight.makes is not None for weight in self.flow.weights)


@dataclass(frozen=True)
class Group:
    """Layers whose channels are tied to each other's, and what can be taken out of them.

    A unit is one label: all the channels that stand or fall together.
    """

    layers: tuple[str, ...]
    units: Labels


@dataclass(frozen=True)
class Channels:
    """The channels of a model."""

    followed: Mapping[int, FollowedLayer]
    """By the layer's id: those with weights or sizes that depend on channels."""
    graphs: Mapping[int, Any]
    """By the id of the model or a nested model whose layers are followed: its functional graph."""
    tensors: Mapping[int, Labels]
    """By the id of a symbolic tensor in one of the graphs: the labels along its last axis."""
    groups: tuple[Group, ...]
    left_whole: Mapping[str, str]
    """Layers of which nothing can be taken out, with the reason."""
    count: int
    """Labels are below this number."""

    def producers(self) -> list[FollowedLayer]:
        """The layers that make channels, in the order of the graph."""
        return [layer for layer in self.followed.values() if layer.is_producer]

    def widths(self) -> dict[str, int]:
        """How many channels each producer makes."""
        return {layer.path: len(layer.flow.output) for layer in self.producers()}


def find_channels(model: Any, exclude: Sequence[str] = ()) -> Channels:
    """Follow the channels of a built Functional or Sequential model, nested models included.

    Channels of the model's inputs and outputs stay, and so do those that reach a layer through which they cannot
    be followed. The channels of the layers in `exclude` stay too: names, or paths in nested models, or those models.

    Raises:
        ModelError: `exclude` names no layer of the model.
    """
    return _Following(model, exclude).run()


def functional_graph(model: Any) -> Any:
    """The model as an uncompiled functional one that shares its layers; None where its graph is not known."""
    import keras
    from keras.src.models.functional import Functional  # keras exports no public name for it

    if type(model) is keras.Sequential and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name) if type(model) is Functional else None


class _Following:
    """One pass over a model and the models nested in it."""

    def __init__(self, model: Any, exclude: Sequence[str]) -> None:
        self.model = model
        self.exclude = exclude
        self.ties = Ties()
        self.followed: dict[int, FollowedLayer] = {}
        self.graphs: dict[int, Any] = {}
        self.tensors: dict[int, Labels] = {}
        self.unfollowed: dict[str, str] = {}
        self.whole: set[int] = set()
        self.paths: list[str] = []

    def run(self) -> Channels:
        graph = functional_graph(self.model)
        self.graphs[id(self.model)] = graph
        sources = [self.ties.fresh(_width(tensor)) for tensor in graph.inputs]
        for tensor, labels in zip(graph.inputs, sources, strict=True):
            self.ties.hold(labels, f"tied to the model's input `{tensor.name}`")
        for labels in self._follow_graph(graph, sources, ""):
            self.ties.hold(labels, "an output of the model")
        self._check_exclude()
        return self._resolved()

    def _follow_graph(self, graph: Any, inputs: Sequence[Labels], prefix: str) -> list[Labels]:
        for tensor, labels in zip(graph.inputs, inputs, strict=True):
            self.tensors[id(tensor)] = labels
        for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
            for node in nodes:
                if not node.is_input:
                    self._visit(node, prefix)
        return [self.tensors[id(tensor)] for tensor in graph.outputs]

    def _visit(self, node: Any, prefix: str) -> None:
        path = prefix + node.operation.name
        self.paths.append(path)
        inputs = tuple(self.tensors[id(tensor)] for tensor in node.input_tensors)
        try:
            outputs = self._outputs(node, path, inputs)
        except UnfollowedError as reason:
            outputs = self._cut_off(node, path, inputs, str(reason))
        for tensor, labels in zip(node.output_tensors, outputs, strict=True):
            self.tensors[id(tensor)] = labels
            if not _names(path).isdisjoint(self.exclude):
                self.ties.hold(labels, "excluded")

    def _outputs(self, node: Any, path: str, inputs: tuple[Labels, ...]) -> list[Labels]:
        layer = node.operation
        if id(layer) in self.whole:
            raise UnfollowedError("it is called elsewhere where its channels cannot be followed")
        nested = self.graphs.get(id(layer)) or functional_graph(layer)
        if nested is not None:
            return self._outputs_of_nested(node, nested, path, inputs)
        shapes = tuple(tuple(tensor.shape) for tensor in node.input_tensors)
        flow = follow(Call(layer, inputs, shapes, tuple(node.output_tensors[0].shape), self.ties))
        if flow.weights or flow.resized:
            first = self.followed.setdefault(id(layer), FollowedLayer(layer, path, flow))
            self._tie_calls(first.flow, flow)
        return [flow.output]

    def _outputs_of_nested(self, node: Any, nested: Any, path: str, inputs: tuple[Labels, ...]) -> list[Labels]:
        given = (*node.arguments.args, *node.arguments.kwargs.values())
        # Given by name, they may come in another order than the nested model's own.
        if len(inputs) != len(nested.inputs) or (len(inputs) > 1 and any(isinstance(value, dict) for value in given)):
            raise UnfollowedError("its inputs are not given in order")
        if id(node.operation) in self.graphs:
            for tensor, labels in zip(nested.inputs, inputs, strict=True):
                self.ties.tie(self.tensors[id(tensor)], labels)
        self.graphs[id(node.operation)] = nested
        return self._follow_graph(nested, inputs, f"{path}/")

    def _tie_calls(self, first: Flow, again: Flow) -> None:
        """A layer that is called twice has one set of weights."""
        if len(first.output) != len(again.output):
            raise UnfollowedError("it is called on inputs of different sizes")
        self.ties.tie(first.output, again.output)
        for a, b in zip(first.weights, again.weights, strict=True):
            for one, other in zip(a.axes, b.axes, strict=True):
                if one is not None and other is not None:
                    self.ties.tie(one, other)

    def _cut_off(self, node: Any, path: str, inputs: tuple[Labels, ...], reason: str) -> list[Labels]:
        layer = node.operation
        self.whole.add(id(layer))
        what = f"`{path}` ({type(layer).__name__}): {reason}"
        self._hold_earlier_calls(layer, f"shared with {what}")
        for labels in inputs:
            self.ties.hold(labels, f"read by {what}")
        outputs = [self.ties.fresh(_width(tensor)) for tensor in node.output_tensors]
        for labels in outputs:
            self.ties.hold(labels, f"tied to what comes out of {what}")
        if getattr(layer, "weights", None):
            self.unfollowed[path] = f"{type(layer).__name__}: {reason}"
        return outputs

    def _hold_earlier_calls(self, layer: Any, reason: str) -> None:
        """What a layer has with channels at its borders must stay: it is called again where nobody follows them."""
        borders: list[Labels] = []
        if (earlier := self.followed.get(id(layer))) is not None:
            axes = [axis for weight in earlier.flow.weights for axis in weight.axes if axis is not None]
            borders = [earlier.flow.output, *axes]
        elif (graph := self.graphs.get(id(layer))) is not None:
            borders = [self.tensors[id(tensor)] for tensor in [*graph.inputs, *graph.outputs]]
        for labels in borders:
            self.ties.hold(labels, reason)

    def _check_exclude(self) -> None:
        known = set().union(*map(_names, self.paths))
        for name in self.exclude:
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known), n=1)
                raise ModelError(
                    f"prune.exclude: expected names of layers; `{self.model.name}` has no `{name}`",
                    hint=f"did you mean `{close[0]}`?" if close else None,
                )

    def _resolved(self) -> Channels:
        followed = {key: replace(layer, flow=self._resolve(layer.flow)) for key, layer in self.followed.items()}
        producers = [layer for layer in followed.values() if layer.is_producer]
        held = self.ties.held()
        groups = _groups(producers, held)
        grouped = {path for group in groups for path in group.layers}
        whole = {layer.path: _reason_to_stay(layer, held) for layer in producers if layer.path not in grouped}
        tensors = {key: self.ties.resolve(labels) for key, labels in self.tensors.items()}
        return Channels(followed, self.graphs, tensors, groups, whole | self.unfollowed, len(self.ties))

    def _resolve(self, flow: Flow) -> Flow:
        def resolved(weight: Weight) -> Weight:
            axes = tuple(None if axis is None else self.ties.resolve(axis) for axis in weight.axes)
            return replace(weight, axes=axes)

        return replace(flow, output=self.ties.resolve(flow.output), weights=tuple(map(resolved, flow.weights)))


def _names(path: str) -> set[str]:
    """What a layer answers to: its path, its own name, and the models it is in."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts) + 1)} | {parts[-1]}


def _width(tensor: Any) -> int:
    """The size of the last axis; 0 where there is none beside the batch, or where it is open."""
    return int(tensor.shape[-1] or 0) if len(tensor.shape) > 1 else 0


def _groups(producers: Sequence[FollowedLayer], held: Mapping[int, str]) -> tuple[Group, ...]:
    """Producers that share a label are in one group; groups of a single unit are none: it must stay."""
    groups: list[tuple[list[str], set[int]]] = []
    for producer in producers:
        units = set(producer.flow.output.tolist()) - set(held)
        touching = [group for group in groups if group[1] & units]
        layers = [name for group in touching for name in group[0]] + [producer.path]
        groups = [group for group in groups if group not in touching]
        groups.append((layers, units.union(*(group[1] for group in touching))))
    return tuple(
        Group(tuple(layers), np.array(sorted(units), dtype=np.int64)) for layers, units in groups if len(units) > 1
    )


def _reason_to_stay(layer: FollowedLayer, held: Mapping[int, str]) -> str:
    reasons = [held[unit] for unit in np.unique(layer.flow.output).tolist() if unit in held]
    only = "it has a single channel" if len(layer.flow.output) == 1 else "its channels are all tied to each other"
    return reasons[0] if reasons else only
