from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from edgecc.targets.arm64.cpu_models import BOARDS, CPU_MODELS, BoardName, CpuChoice, CpuName, cpuinfo


def test_every_name_has_its_model() -> None:
    assert tuple(CPU_MODELS) == get_args(CpuName)
    assert set(BOARDS) == set(get_args(BoardName))
    assert all(name == model.name for name, model in CPU_MODELS.items())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"cpu": "cortex-a53"}, "cortex-a53"),
        ({"board": "raspberry-pi-4"}, "cortex-a72"),
        ({"board": "raspberry-pi-5"}, "cortex-a76"),
        ({"board": "graviton2"}, "neoverse-n1"),
    ],
)
def test_a_cpu_or_a_board(options: dict[str, Any], name: str) -> None:
    assert CpuChoice.model_validate(options).cpu_model is CPU_MODELS[name]  # type: ignore[index]


@pytest.mark.parametrize("options", [{}, {"cpu": "cortex-a72", "board": "raspberry-pi-4"}])
def test_neither_and_both_name_the_known(options: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"exactly one of `cpu` \(cortex-a53, .*\) and `board` \(raspberry-pi-3, "
    ):
        CpuChoice.model_validate(options)


@pytest.mark.parametrize("options", [{"cpu": "max"}, {"board": "raspberry-pi-2"}])
def test_an_unknown_name_names_the_known(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"'cortex-a72'|'raspberry-pi-4'"):
        CpuChoice.model_validate(options)


def test_cpuinfo_of_a_raspberry_pi_4() -> None:
    first, second = cpuinfo(CPU_MODELS["cortex-a72"], 2).strip().split("\n\n")
    fields = dict(line.split(": ") for line in first.replace("\t", "").splitlines())
    assert fields == {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid",
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": "0xd08",
        "CPU revision": "3",
    }
    assert second == first.replace("processor\t: 0", "processor\t: 1")


@pytest.mark.parametrize(
    ("name", "dot_product", "half_precision", "matrix"),
    [
        ("cortex-a53", False, False, False),
        ("cortex-a72", False, False, False),
        ("cortex-a76", True, True, False),
        ("neoverse-n1", True, True, False),
        ("neoverse-v1", True, True, True),
    ],
)
def test_the_features_that_choose_kernels(name: Any, dot_product: bool, half_precision: bool, matrix: bool) -> None:
    features = CPU_MODELS[name].features.split()
    has = tuple(feature in features for feature in ("asimddp", "asimdhp", "i8mm"))
    assert has == (dot_product, half_precision, matrix)
