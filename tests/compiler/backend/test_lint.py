"""Every rule on files made by hand: one that it must name, and one that it must leave alone."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import Artifact, Format, Manifest, StageRecord
from edgecc.compiler.backend.artifact_graph import Graph, read_graph
from edgecc.compiler.backend.lint import RULES, lint_artifact, probe, runtime
from edgecc.compiler.backend.lint.finding import Claims, Finding, Scheme, Severity, claims_of
from edgecc.errors import MissingExtraError

DATA = Path(__file__).parents[2] / "data"
DOCS = Path(__file__).parents[3] / "docs"

INT8 = Claims(scheme=Scheme.INT8)
INT16X8 = Claims(scheme=Scheme.INT16X8)
FLOAT32 = Claims(scheme=Scheme.FLOAT32)
FLOAT16 = Claims(scheme=Scheme.FLOAT16)
DYNAMIC = Claims(scheme=Scheme.DYNAMIC)

Shape = tuple[int, ...]
Node = tuple[str, Sequence[str], Sequence[str]]
_OPTIONS: dict[str, Any] = {"GELU": schema.GeluOptionsT}


class Model:
    """A TFLite model in the making; tensors are named, and quantized where their type is int8 or int16."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.graph()

    def graph(self) -> Model:
        """Begin a graph: the main one first, then bodies."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.model.subgraphs.append(graph)
        self.indices: dict[str, int] = {}
        return self

    def tensor(
        self, name: str, dtype: str = "float32", shape: Shape = (1, 4), data: Any = None, called: str | None = None
    ) -> Model:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = (called or name).encode(), list(shape)
        tensor.type = getattr(schema.TensorType, dtype.upper())
        tensor.buffer = 0 if data is None else self._buffer(data, dtype)
        if dtype in ("int8", "int16"):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.125], [0]
        graph = self.model.subgraphs[-1]
        self.indices[name] = len(graph.tensors)
        graph.tensors.append(tensor)
        return self

    def _buffer(self, data: Any, dtype: str) -> int:
        """`data` is an array, or the name of a tensor whose buffer is shared."""
        if isinstance(data, str):
            return int(self.model.subgraphs[-1].tensors[self.indices[data]].buffer)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(data, dtype=dtype).tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def operator(self, kind: str, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        """A builtin in capitals, anything else is a custom operator."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind if kind.isupper() else "CUSTOM")
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = None if kind.isupper() else kind.encode()
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = ([self.indices[each] for each in names] for names in (inputs, outputs))
        if kind in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind].__name__.removesuffix("T"))
            operator.builtinOptions = _OPTIONS[kind]()
        self.model.operatorCodes.append(code)
        self.model.subgraphs[-1].operators.append(operator)
        return self

    def edges(self, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        graph = self.model.subgraphs[-1]
        graph.inputs, graph.outputs = ([self.indices[each] for each in names] for names in (inputs, outputs))
        return self

    def write(self, folder: Path) -> Path:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path = folder / "made.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path


def chain(folder: Path, *kinds_and_dtypes: str, claims: Claims | None = None) -> list[Finding]:
    """Lint a TFLite file of one operator after the other: dtype, kind, dtype, kind, dtype. Tensors are t0, t1, ..."""
    dtypes, kinds = kinds_and_dtypes[::2], kinds_and_dtypes[1::2]
    model = Model()
    for index, dtype in enumerate(dtypes):
        model.tensor(f"t{index}", dtype)
    for index, kind in enumerate(kinds):
        model.operator(kind, [f"t{index}"], [f"t{index + 1}"])
    model.edges(["t0"], [f"t{len(kinds)}"])
    return lint(model.write(folder), claims)


def lint(path: Path, claims: Claims | None = None) -> list[Finding]:
    return list(lint_artifact(path, Format(path.suffix[1:]), claims))


@pytest.fixture
def runtimes() -> None:
    """For tests that ask the real ones, in a process each."""


@pytest.fixture(autouse=True)
def no_runtimes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test does not ask for them, runtimes have nothing to say: most of these files they could not prepare."""
    if "runtimes" not in request.fixturenames:
        monkeypatch.setattr(runtime, "undelegated", lambda path: [])
        monkeypatch.setattr(runtime, "optimized", lambda path: Graph((), (), ()))


def subjects(findings: Sequence[Finding], rule: str, severity: Severity | None = None) -> list[str]:
    return [each.subject for each in findings if each.rule == rule and severity in (None, each.severity)]


def named(rule: str, findings: Sequence[Finding]) -> list[str]:
    """What a rule names, sure that no other rule has anything to say."""
    assert {each.rule for each in findings} <= {rule}
    return [each.subject for each in findings]


def onnx_file(
    folder: Path,
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    inputs: dict[str, Shape] | None = None,
    outputs: dict[str, Shape] | None = None,
    domains: Sequence[str] = (),
) -> Path:
    def values(shapes: dict[str, Shape]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    graph = helper.make_graph(
        nodes,
        "g",
        values(inputs or {"x": (1, 4)}),
        values(outputs or {"y": (1, 4)}),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path = folder / "made.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    name = attributes.pop("name", kind.lower())
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


QDQ = {"s": np.float32(0.05), "z": np.uint8(128)}


def quantized(source: str, sink: str) -> list[Any]:
    """The pair that takes `source` to 8 bits and back, as `sink`."""
    return [
        node("QuantizeLinear", f"{source} s z", f"{sink}_8", name=f"quantize_{sink}"),
        node("DequantizeLinear", f"{sink}_8 s z", sink, name=f"dequantize_{sink}"),
    ]


# What a real file is


def test_a_real_int8_file_is_clean(runtimes: None) -> None:
    assert lint_artifact(DATA / "cnn_int8.tflite", Format.TFLITE, INT8) == ()
    assert lint_artifact(DATA / "cnn_int8.tflite", Format.TFLITE, None) == ()


def test_a_real_float_file_is_clean_as_such(runtimes: None) -> None:
    assert lint_artifact(DATA / "cnn_float32.tflite", Format.TFLITE, FLOAT32) == ()


def test_a_real_float_file_is_not_int8() -> None:
    findings = lint(DATA / "cnn_float32.tflite", INT8)
    assert [each.partition(" ")[0] for each in subjects(findings, "float-compute", Severity.ERROR)] == [
        "CONV_2D", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert subjects(findings, "float-edge", Severity.ERROR) == ["input `image`", "output `Identity`"]
    assert len(findings) == 5


def test_every_rule_is_in_the_documentation() -> None:
    if not DOCS.is_dir():
        pytest.skip("only a checkout has docs/")
    text = (DOCS / "lint.md").read_text()
    listed = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert listed == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


# Claims


def test_float_between_integers_is_named(tmp_path: Path) -> None:
    findings = chain(tmp_path, "int8", "DEQUANTIZE", "float32", "SIN", "float32", "QUANTIZE", "int8", claims=INT8)
    assert named("float-compute", findings) == ["SIN `t2`"]
    (finding,) = findings
    assert (finding.found, finding.expected) == ("computes in float32", "int8 throughout")
    assert "keep" in finding.advice


@pytest.mark.parametrize(
    ("layer", "tensor", "is_kept"),
    [
        ("conv2d", "cnn_1/conv2d_1/Relu;cnn_1/conv2d_1/BiasAdd", True),
        ("conv2d", "cnn_1/dense_1/Relu;cnn_1/conv2d_1/BiasAdd", True),
        ("conv2d_1", "cnn_1/conv2d_1/Relu", False),  # the scope of the layer `conv2d`
        ("conv2d_1", "cnn_1/conv2d_1_2/Relu", True),
        ("outer/inner", "cnn_1/outer_1/inner_1/Relu", True),
        ("inner", "cnn_1/outer_1/inner_1/Relu", True),
        ("conv", "cnn_1/conv2d_1/Relu", False),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall:0", True),  # a tensor's own name
    ],
)
def test_what_the_recipe_keeps_is_a_note(tmp_path: Path, layer: str, tensor: str, is_kept: bool) -> None:
    model = Model().tensor("x", "int8").tensor("a").tensor("b", called=tensor).tensor("y", "int8")
    model.operator("DEQUANTIZE", ["x"], ["a"]).operator("SIN", ["a"], ["b"]).operator("QUANTIZE", ["b"], ["y"])
    path = model.edges(["x"], ["y"]).write(tmp_path)
    (finding,) = lint(path, Claims(scheme=Scheme.INT8, kept=(layer,)))
    assert finding.rule == "float-compute"
    assert finding.severity is (Severity.NOTE if is_kept else Severity.ERROR)


@pytest.mark.parametrize("claims", [FLOAT32, FLOAT16, DYNAMIC])
def test_integers_in_a_float_file_are_named(claims: Claims) -> None:
    findings = lint(DATA / "cnn_int8.tflite", claims)
    assert [each.partition(" ")[0] for each in subjects(findings, "integer-compute", Severity.ERROR)] == [
        "CONV_2D", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert len(findings) == 3


def test_integers_without_a_scale_are_not_quantization(tmp_path: Path) -> None:
    assert chain(tmp_path, "uint8", "CAST", "float32", "SIN", "float32", claims=FLOAT32) == []


def _dense(folder: Path, weights: str, shape: Shape = (8, 4), second: str | None = None) -> Path:
    """X @ weights, and where there is a second kind of weights, @ them."""
    model = Model().tensor("x").tensor("w", weights, shape, np.arange(np.prod(shape)) % 7).tensor("y", shape=(1, 8))
    model.operator("FULLY_CONNECTED", ["x", "w"], ["y"])
    if second is not None:
        model.tensor("w2", second, (256, 8), np.arange(2048) % 5).tensor("y2", shape=(1, 256))
        model.operator("FULLY_CONNECTED", ["y", "w2"], ["y2"])
    return model.edges(["x"], ["y2" if second else "y"]).write(folder)


def test_dynamic_weights_in_int8_are_as_claimed(tmp_path: Path) -> None:
    path = _dense(tmp_path, "int8")
    assert lint(path, DYNAMIC) == []
    assert named("integer-compute", lint(path, FLOAT32)) == ["FULLY_CONNECTED `y`"]


@pytest.mark.parametrize(
    ("first", "second", "claims", "expected"),
    [
        ("int8", "float32", DYNAMIC, ["FULLY_CONNECTED `y2`"]),
        ("float32", "int8", DYNAMIC, []),  # too small to be worth it
        ("float32", "float32", DYNAMIC, ["FULLY_CONNECTED `y`", "FULLY_CONNECTED `y2`"]),
        ("float16", "float32", FLOAT16, ["FULLY_CONNECTED `y2`"]),
        ("float32", "float16", FLOAT32, ["FULLY_CONNECTED `y2`"]),
        ("float32", "float32", FLOAT32, []),
    ],
)
def test_weights_in_another_type_than_claimed(
    tmp_path: Path, first: str, second: str, claims: Claims, expected: list[str]
) -> None:
    assert named("weight-dtype", lint(_dense(tmp_path, first, second=second), claims)) == expected


def test_small_float_weights_alone_are_not_dynamic(tmp_path: Path) -> None:
    assert named("weight-dtype", lint(_dense(tmp_path, "float32"), DYNAMIC)) == ["FULLY_CONNECTED `y`"]


def test_weights_of_a_kept_layer_are_a_note(tmp_path: Path) -> None:
    path = _dense(tmp_path, "int8", second="float32")
    (finding,) = lint(path, Claims(scheme=Scheme.DYNAMIC, kept=("y2",)))
    assert (finding.rule, finding.severity) == ("weight-dtype", Severity.NOTE)


@pytest.mark.parametrize(("stored", "expected"), [("float16", []), ("float32", ["FULLY_CONNECTED `y`"])])
def test_weights_are_what_is_stored_not_what_they_are_dequantized_to(
    tmp_path: Path, stored: str, expected: list[str]
) -> None:
    model = Model().tensor("x").tensor("h", stored, (512, 4), np.arange(2048) % 9)
    model.tensor("w", shape=(512, 4)).tensor("y", shape=(1, 512))
    model.operator("DEQUANTIZE", ["h"], ["w"]).operator("FULLY_CONNECTED", ["x", "w"], ["y"])
    assert named("weight-dtype", lint(model.edges(["x"], ["y"]).write(tmp_path), FLOAT16)) == expected


@pytest.mark.parametrize(
    ("dtype", "claims", "is_named"), [("int16", INT8, True), ("int8", INT16X8, True), ("int16", INT16X8, False)]
)
def test_activations_of_another_width(tmp_path: Path, dtype: str, claims: Claims, is_named: bool) -> None:
    findings = chain(tmp_path, dtype, "RELU", dtype, claims=claims)
    assert named("activation-width", findings) == (["RELU `t1`"] if is_named else [])


def test_float_edges_are_named(tmp_path: Path) -> None:
    findings = chain(tmp_path, "float32", "QUANTIZE", "int8", "RELU", "int8", "DEQUANTIZE", "float32", claims=INT8)
    assert named("float-edge", findings) == ["input `t0`", "output `t3`"]


def test_token_ids_are_no_float_edge(tmp_path: Path) -> None:
    model = Model().tensor("ids", "int32").tensor("w", "int8", (8, 4), np.zeros(32)).tensor("y", "int8", (1, 4, 4))
    path = model.operator("GATHER", ["w", "ids"], ["y"]).edges(["ids"], ["y"]).write(tmp_path)
    assert lint(path, INT8) == []


def test_an_onnx_file_in_qdq_is_int8(tmp_path: Path) -> None:
    """A weight, a ReLU before its quantization, a matrix product whose output stays real."""
    nodes = [
        *quantized("x", "a"),
        node("DequantizeLinear", "w s z", "b", name="weights"),
        node("MatMul", "a b", "c"),
        node("Relu", "c", "d"),
        *quantized("d", "e"),
        node("MatMul", "e b", "y", name="last"),
    ]
    path = onnx_file(tmp_path, nodes, {**QDQ, "w": np.arange(16, dtype=np.uint8).reshape(4, 4)})
    assert lint(path, INT8) == []
    names = ["quantize_a", "dequantize_a", "weights", "quantize_e", "dequantize_e"]
    assert [each.split("`")[1] for each in named("integer-compute", lint(path, FLOAT32))] == names
    assert "integer-compute" in {each.rule for each in lint(path, DYNAMIC)}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([*quantized("x", "a"), node("MatMul", "a w", "y")], ["MatMul `matmul`"]),  # weights in float
        ([node("Exp", "x", "a"), *quantized("a", "y")], ["Exp `exp`"]),  # reads a float
        ([*quantized("x", "a"), node("Relu", "a", "y")], ["Relu `relu`"]),
        ([*quantized("x", "a"), node("Softmax", "a", "y")], []),  # probabilities that leave the model as floats
        ([node("Softmax", "x", "y")], ["Softmax `softmax`"]),
        ([*quantized("x", "a"), node("Exp", "a", "y")], ["Exp `exp`"]),  # nothing quantizes what it writes
        ([*quantized("x", "a"), node("Add", "a c", "b"), *quantized("b", "y")], ["Add `add`"]),  # a float constant
        ([*quantized("x", "y"), node("Cast", "ids", "f", to=TensorProto.FLOAT), node("Less", "f c", "b")], []),
        (
            [*quantized("x", "y"), node("Cast", "ids", "f", to=TensorProto.FLOAT), node("Exp", "f", "b")],
            ["Cast `cast`", "Exp `exp`"],
        ),
        ([*quantized("x", "y"), node("Less", "x c", "b")], ["Less `less`"]),
    ],
)
def test_float_nodes_of_an_onnx_file_are_named(tmp_path: Path, nodes: list[Any], expected: list[str]) -> None:
    constants = {**QDQ, "w": np.eye(4, dtype=np.float32), "c": np.ones(4, dtype=np.float32), "ids": np.arange(4)}
    path = onnx_file(tmp_path, nodes, constants)
    assert subjects(lint(path, INT8), "float-compute") == expected


def test_dynamic_onnx_is_as_claimed(tmp_path: Path) -> None:
    nodes = [
        node("DynamicQuantizeLinear", "x", "q qs qz"),
        node("MatMulInteger", "q w qz", "i"),
        node("Cast", "i", "f", to=TensorProto.FLOAT),
        node("Mul", "f qs", "y"),
    ]
    path = onnx_file(tmp_path, nodes, {"w": np.ones((4, 4), dtype=np.uint8)})
    assert lint(path, DYNAMIC) == []
    assert len(subjects(lint(path, FLOAT32), "integer-compute")) == 2


def test_rows_of_quantized_weights_are_weights(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "ids", to=TensorProto.INT32),
        node("Gather", "w ids", "rows"),
        node("DequantizeLinear", "rows s z", "y"),
    ]
    path = onnx_file(tmp_path, nodes, {**QDQ, "w": np.ones((9, 4), dtype=np.uint8)}, outputs={"y": (1, 4, 4)})
    assert subjects(lint(path, DYNAMIC), "integer-compute") == []
    assert len(subjects(lint(path, FLOAT32), "integer-compute")) == 2


# Structure


@pytest.mark.parametrize(("kind", "rule"), [("FlexErfc", "flex-operator"), ("Mine", "custom-operator")])
def test_foreign_operators_are_named_and_why_no_runtime_was_asked(tmp_path: Path, kind: str, rule: str) -> None:
    error, note = chain(tmp_path, "float32", kind, "float32")
    assert (error.rule, error.severity, error.subject) == (rule, Severity.ERROR, f"{kind} `t1`")
    assert (note.rule, note.severity) == ("not-accelerated", Severity.NOTE)
    assert note.found == "not checked: the runtime does not know the custom operators"


@pytest.mark.parametrize(
    ("domain", "severity"),
    [("my.domain", Severity.ERROR), ("com.microsoft", Severity.WARNING), ("ai.onnx", None), ("", None)],
)
def test_domains_of_onnx(tmp_path: Path, domain: str, severity: Severity | None) -> None:
    path = onnx_file(tmp_path, [node("Gelu", "x", "y", domain=domain)], domains=[domain])
    found = [(each.rule, each.severity) for each in lint(path)]
    assert found == ([] if severity is None else [("custom-operator", severity)])


def test_constant_outputs_are_named(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("y").tensor("c", data=np.ones(4)).tensor("d").tensor("unwritten")
    model.operator("SIN", ["x"], ["y"]).operator("SIN", ["c"], ["d"])
    findings = lint(model.edges(["x"], ["y", "c", "d", "unwritten"]).write(tmp_path))
    assert named("constant-output", findings) == ["output `c`", "output `d`", "output `unwritten`"]


def test_an_input_may_be_an_output(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("y").operator("SIN", ["x"], ["y"])
    assert lint(model.edges(["x"], ["y", "x"]).write(tmp_path)) == []


def test_dead_operators_are_named_and_what_feeds_them(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("y").tensor("a").tensor("b")
    model.operator("SIN", ["x"], ["y"]).operator("COS", ["x"], ["a"]).operator("ABS", ["a"], ["b"])
    findings = lint(model.edges(["x"], ["y"]).write(tmp_path))
    assert named("dead-operator", findings) == ["COS `a`", "ABS `b`"]


def test_one_used_output_is_enough_to_live(tmp_path: Path) -> None:
    model = Model().tensor("axis", "int32", (1,), [1]).tensor("x").tensor("a", shape=(1, 2)).tensor("b", shape=(1, 2))
    model.operator("SPLIT", ["axis", "x"], ["a", "b"])
    assert lint(model.edges(["x"], ["a"]).write(tmp_path)) == []


def test_what_a_variable_keeps_is_alive(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("y").tensor("a").tensor("handle", "resource", (1,))
    model.operator("VAR_HANDLE", [], ["handle"]).operator("SIN", ["x"], ["y"]).operator("COS", ["x"], ["a"])
    model.operator("ASSIGN_VARIABLE", ["handle", "a"], [])
    assert lint(model.edges(["x"], ["y"]).write(tmp_path)) == []


def test_bodies_are_graphs_of_their_own(tmp_path: Path) -> None:
    """Both have tensors of the same names, and the body's results count as used."""
    model = Model().tensor("x").tensor("y").operator("SIN", ["x"], ["y"]).edges(["x"], ["y"])
    model.graph().tensor("x").tensor("y").tensor("dead").operator("COS", ["x"], ["y"]).operator("ABS", ["x"], ["dead"])
    assert named("dead-operator", lint(model.edges(["x"], ["y"]).write(tmp_path))) == ["ABS `dead`"]


def test_tensors_of_one_name_are_told_apart(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("y", called="same").tensor("dead", called="same")
    model.operator("SIN", ["x"], ["y"]).operator("COS", ["x"], ["dead"])
    assert named("dead-operator", lint(model.edges(["x"], ["y"]).write(tmp_path))) == ["COS `same`"]


def test_what_a_branch_reads_of_the_graph_around_it_is_used(tmp_path: Path) -> None:
    def body(reads: str) -> Any:
        sink = helper.make_tensor_value_info(f"{reads}_out", TensorProto.FLOAT, (1, 4))
        return helper.make_graph([node("Abs", reads, f"{reads}_out", name=f"abs_{reads}")], reads, [], [sink])

    nodes = [
        node("Sin", "x", "captured"),
        node("Cos", "x", "dead"),
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Cast", "sum", "condition", to=TensorProto.BOOL),
        node("If", "condition", "y", then_branch=body("captured"), else_branch=body("x")),
    ]
    assert named("dead-operator", lint(onnx_file(tmp_path, nodes))) == ["Cos `cos`"]


def test_unused_inputs_are_named(tmp_path: Path) -> None:
    model = Model().tensor("x").tensor("spare").tensor("y").operator("SIN", ["x"], ["y"])
    assert named("unused-input", lint(model.edges(["x", "spare"], ["y"]).write(tmp_path))) == ["input `spare`"]


@pytest.mark.parametrize(
    ("steps", "subject", "found"),
    [
        (
            ("int8", "RELU", "int8", "DEQUANTIZE", "float32", "QUANTIZE", "int8"),
            "DEQUANTIZE `t2`",
            "is quantized again at once",
        ),
        (
            ("float32", "QUANTIZE", "int8", "DEQUANTIZE", "float32"),
            "QUANTIZE `t1`",
            "is dequantized at once",
        ),
        (
            ("int8", "RELU", "int8", "DEQUANTIZE", "float32", "SIN", "float32", "COS", "float32", "QUANTIZE", "int8"),
            "DEQUANTIZE `t2`",
            "leaves the integers for SIN, COS, which are quantized again",
        ),
    ],
)
def test_round_trips_are_named(tmp_path: Path, steps: tuple[str, ...], subject: str, found: str) -> None:
    (finding,) = chain(tmp_path, *steps)
    assert (finding.rule, finding.subject, finding.found) == ("round-trip", subject, found)


@pytest.mark.parametrize(
    "steps",
    [
        ("float32", "QUANTIZE", "int8", "RELU", "int8", "DEQUANTIZE", "float32"),
        ("int8", "RELU", "int8", "DEQUANTIZE", "float32", "SOFTMAX", "float32"),
        ("int8", "RELU", "int8", "QUANTIZE", "int8", "RELU", "int8"),  # to another scale
    ],
)
def test_quantization_at_the_edges_is_no_round_trip(tmp_path: Path, steps: tuple[str, ...]) -> None:
    assert chain(tmp_path, *steps) == []


def test_a_round_trip_in_onnx_is_back_to_back(tmp_path: Path) -> None:
    nodes = [*quantized("x", "a"), *quantized("a", "b"), node("Relu", "b", "y")]
    assert subjects(lint(onnx_file(tmp_path, nodes, QDQ)), "round-trip") == ["DequantizeLinear `dequantize_a`"]


@pytest.mark.parametrize(("norm", "expected"), [("vector", ["tensor `y`"]), ("scalar", [])])
def test_unfolded_batch_normalization_is_named(tmp_path: Path, norm: str, expected: list[str]) -> None:
    constants = {
        "w": np.ones((4, 4), dtype=np.float32),
        "vector": np.ones(4, dtype=np.float32),
        "scalar": np.float32(2),
    }
    path = onnx_file(tmp_path, [node("MatMul", "x w", "a"), node("Mul", f"a {norm}", "y")], constants)
    assert named("unfolded-batch-norm", lint(path)) == expected


def test_weights_behind_a_dequantization_are_weights(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", "w s z", "b"),
        node("MatMul", "x b", "a"),
        node("Mul", "a v", "y"),
    ]
    constants = {**QDQ, "w": np.ones((4, 4), dtype=np.uint8), "v": np.ones(4, dtype=np.float32)}
    assert subjects(lint(onnx_file(tmp_path, nodes, constants)), "unfolded-batch-norm") == ["tensor `y`"]


def _two_constants(folder: Path, first: Any, second: Any) -> Path:
    size = (1, np.size(first))
    model = Model().tensor("x", shape=size).tensor("a", shape=size, data=first).tensor("b", shape=size, data=second)
    model.tensor("c", shape=size).tensor("y", shape=size)
    model.operator("MAXIMUM", ["x", "a"], ["c"]).operator("MINIMUM", ["c", "b"], ["y"])
    return model.edges(["x"], ["y"]).write(folder)


def test_the_same_bytes_twice_are_named_with_what_they_waste(tmp_path: Path) -> None:
    weights = np.arange(100)
    (finding,) = lint(_two_constants(tmp_path, weights, weights))
    assert (finding.rule, finding.severity, finding.subject) == (
        "duplicate-weights", Severity.WARNING, "constant `a`",
    )  # fmt: skip
    assert finding.found == "holds the same bytes as `b`: 400 B wasted"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.arange(100), np.arange(1, 101)),
        (np.arange(100), "a"),  # one buffer, used twice
        (np.arange(60), np.arange(60)),  # 240 bytes
    ],
)
def test_bytes_that_are_stored_once_or_few(tmp_path: Path, first: Any, second: Any) -> None:
    assert lint(_two_constants(tmp_path, first, second)) == []


def test_duplicates_in_onnx_count_initializers_and_constant_nodes(tmp_path: Path) -> None:
    weights = np.arange(400, dtype=np.float32).reshape(100, 4)
    constant = node("Constant", "", "c", value=numpy_helper.from_array(weights))
    nodes = [constant, node("Max", "x a", "y1"), node("Max", "y1 b", "y2"), node("Max", "y2 c", "y")]
    path = onnx_file(
        tmp_path, nodes, {"a": weights, "b": weights}, inputs={"x": (100, 4)}, outputs={"y": (100, 4)}
    )  # fmt: skip
    (finding,) = lint(path)
    assert finding.found == "holds the same bytes as `b`, `c`: 3,200 B wasted"


# What a runtime makes of it


def _gelu(folder: Path, dtype: str, size: int) -> Path:
    model = Model().tensor("x", dtype, (1, size)).tensor("y", dtype, (1, size)).operator("GELU", ["x"], ["y"])
    return model.edges(["x"], ["y"]).write(folder)


def test_what_xnnpack_does_not_take_is_named(tmp_path: Path, runtimes: None) -> None:
    (finding,) = lint(_gelu(tmp_path, "int8", 2048), INT8)
    assert (finding.rule, finding.severity, finding.subject) == ("not-accelerated", Severity.WARNING, "GELU `y`")


def test_an_operator_on_few_values_is_a_note(tmp_path: Path, runtimes: None) -> None:
    (finding,) = lint(_gelu(tmp_path, "int8", 10), INT8)
    assert finding.severity is Severity.NOTE
    assert "10 values only" in finding.found


def test_what_xnnpack_takes_is_not_named(tmp_path: Path, runtimes: None) -> None:
    assert lint_artifact(_gelu(tmp_path, "float32", 2048), Format.TFLITE, FLOAT32) == ()


def test_a_delegates_part_ends_where_it_reads() -> None:
    """0 -> a -> 1 -> b -> 2, of which the delegates took a and c, and b hands over between them."""
    nodes = [
        {"index": 0, "op_name": "A", "inputs": [0, 9], "outputs": [1]},
        {"index": 1, "op_name": "B", "inputs": [1], "outputs": [2]},
        {"index": 2, "op_name": "C1", "inputs": [2, 1], "outputs": [3]},
        {"index": 3, "op_name": "C2", "inputs": [3], "outputs": [4]},
        {"index": 4, "op_name": "DELEGATE", "inputs": [0, 9], "outputs": [1]},
        {"index": 5, "op_name": "DELEGATE", "inputs": [2, 1], "outputs": [4]},
    ]
    assert probe._left_over(nodes) == [1]


def test_a_file_that_cannot_be_prepared_is_a_note_that_says_so(runtimes: None) -> None:
    (finding,) = lint_artifact(DATA / "cnn_open.tflite", Format.TFLITE, FLOAT32)
    assert (finding.rule, finding.severity) == ("not-accelerated", Severity.NOTE)
    assert finding.found.startswith("not checked: LiteRT cannot prepare the file: RuntimeError")


def test_a_runtime_that_is_killed_is_a_note_that_says_so(
    tmp_path: Path, runtimes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (finding,) = lint_artifact(DATA / "cnn_int8.tflite", Format.TFLITE, INT8)
    assert finding.severity is Severity.NOTE
    assert finding.found.endswith("the runtime was killed by signal 11")


def _between_pairs(folder: Path, kind: str, size: int = 2048) -> Path:
    nodes = [*quantized("x", "a"), node(kind, "a", "b"), *quantized("b", "y")]
    return onnx_file(folder, nodes, QDQ, {"x": (1, size)}, {"y": (1, size)})


@pytest.mark.parametrize(("size", "severity"), [(2048, Severity.WARNING), (4, Severity.NOTE)])
def test_a_quantized_node_that_runs_in_float_is_named(
    tmp_path: Path, runtimes: None, size: int, severity: Severity
) -> None:
    (finding,) = lint(_between_pairs(tmp_path, "Sin", size), INT8)
    assert (finding.rule, finding.severity, finding.subject) == ("unfused-qdq", severity, "Sin `sin`")


def test_a_quantized_node_that_runs_on_integers_is_not_named(tmp_path: Path, runtimes: None) -> None:
    assert subjects(lint(_between_pairs(tmp_path, "Sigmoid"), INT8), "unfused-qdq") == []


def test_a_file_that_onnx_runtime_refuses_is_a_note_that_says_so(tmp_path: Path, runtimes: None) -> None:
    nodes = [*quantized("x", "a"), node("NoSuch", "a", "y")]
    findings = lint_artifact(onnx_file(tmp_path, nodes, QDQ), Format.ONNX, None)
    assert [(each.rule, each.severity) for each in findings] == [("unfused-qdq", Severity.NOTE)]
    assert "ONNX Runtime cannot load the file" in findings[0].found


# Reading


def test_constants_of_every_kind_are_read(tmp_path: Path) -> None:
    nodes = [
        node("Constant", "", "floats", value_floats=[1.0, 2.0, 3.0, 4.0]),
        node("Constant", "", "shape", value_ints=[1, 4]),
        node("Constant", "", "text", value_string="word"),
        node("Add", "x floats", "a"),
        node("Reshape", "a shape", "y"),
    ]
    graph = read_graph(onnx_file(tmp_path, nodes), Format.ONNX)
    assert graph.operator_counts() == {"Add": 1, "Reshape": 1}
    constants = {each.name: (each.dtype, each.shape) for operator in graph.operators for each in operator.inputs[1:]}
    assert constants == {"floats": ("float32", (4,)), "shape": ("int64", (2,))}
    sizes = {each.name: each.size_bytes for each in graph.stored}
    assert sizes == {"floats": 16, "shape": 16, "text": 4}
    floats = np.array([1, 2, 3, 4], dtype="<f4").tobytes()
    assert graph.stored[0].sha256 == hashlib.sha256(floats).hexdigest()


def test_an_onnx_file_without_onnx_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(tmp_path, [node("Relu", "x", "y")])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="needs onnx"):
        lint_artifact(path, Format.ONNX, None)


# Claims of what edgecc built


def _manifest(quantize: Any, **metrics: Any) -> Manifest:
    stage = StageRecord(
        name="quantize/small/tflite", options={}, inputs={}, outputs={}, duration_s=1.0, metrics=metrics
    )  # fmt: skip
    return Manifest(
        project="p",
        variant="small",
        artifact=Artifact(path="p.tflite", format=Format.TFLITE, sha256="0" * 64, size_bytes=1),
        inputs=(),
        outputs=(),
        recipe={"distill": None, "prune": None, "quantize": quantize},
        stages=(stage,),
        evaluation_sha256="0" * 64,
        seed=0,
        tool_versions={},
        git_commit=None,
    )


def test_an_artifact_claims_what_its_recipe_says() -> None:
    assert claims_of(_manifest(None)) == FLOAT32
    claims = claims_of(_manifest({"scheme": "int8", "keep": ["head"]}, kept=["head", "stem"], kept_tensors=["Conv_0"]))
    assert claims == Claims(scheme=Scheme.INT8, kept=("head", "stem", "Conv_0"))
