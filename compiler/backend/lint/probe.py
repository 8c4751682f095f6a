"""Asks a runtime what it makes of a file, in a process of its own: some model files kill the interpreter.

`python -m edgecc.compiler.backend.lint.probe delegated FILE` prints the indices of the operators that LiteRT's
default delegate did not take; `... optimized FILE OUT` writes ONNX Runtime's optimized model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, read_graph

_TIME_LIMIT_S = 120.0


class ProbeError(Exception):
    """The runtime gave no answer; the message is its own last word."""


def undelegated(path: Path) -> list[int]:
    """The operators of a TFLite file, by index in its main graph, that LiteRT leaves to its plain kernels.

    On a CPU its default delegate is XNNPACK.

    Raises:
        ProbeError: LiteRT cannot prepare the file.
    """
    indices: list[int] = json.loads(_ask("delegated", path))
    return indices


def optimized(path: Path) -> Graph:
    """What ONNX Runtime makes of a file: its optimizations at the level `extended`, which fuse quantized operators.

    Raises:
        ProbeError: ONNX Runtime cannot load the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "optimized.onnx"
        _ask("optimized", path, out)
        return read_graph(out, Format.ONNX)


def _ask(question: str, *paths: Path) -> str:
    command = [sys.executable, "-P", "-m", "edgecc.compiler.backend.lint.probe", question, *map(str, paths)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ProbeError(f"no answer within {_TIME_LIMIT_S:.0f} s") from None
    if answer.returncode < 0:
        raise ProbeError(f"the runtime was killed by signal {-answer.returncode}")
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    if answer.returncode > 0:
        raise ProbeError(lines[-1] if lines else f"the runtime left with code {answer.returncode}")
    return answer.stdout


def _delegated(path: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    interpreter.allocate_tensors()
    print(json.dumps(_left_over(interpreter._get_ops_details())))  # noqa: T201 - the answer


def _left_over(nodes: list[dict[str, Any]]) -> list[int]:
    """The nodes that no delegate computes.

    A delegate's node stands for those on the way from the tensors it reads to the ones it writes; the nodes it
    replaced stay in the list.
    """
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producers = {tensor: node for node in own for tensor in node["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        read, pending = set(delegate["inputs"]), list(delegate["outputs"])
        while pending:
            node = producers.get(pending.pop())
            if node is not None and node["index"] not in taken:
                taken.add(node["index"])
                pending += [tensor for tensor in node["inputs"] if tensor not in read]
    return [node["index"] for node in own if node["index"] not in taken]


def _optimized(path: str, out: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = out
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    _delegated(sys.argv[2]) if sys.argv[1] == "delegated" else _optimized(sys.argv[2], sys.argv[3])
