from __future__ import annotations

from typing import Any

import pytest

from edgecc.results import Environment
from edgecc.targets import noise


def environment(**changes: Any) -> Environment:
    quiet = Environment(
        os="Linux", machine="x86_64", cpu_model="a CPU", cores=4, governor="performance", accelerator=None,
        python="3.11.0", runtimes={}, emulated=False, load_average=0.5,
    )  # fmt: skip
    return quiet.model_copy(update=changes)


def noise_warnings(here: Environment, num_threads: int = 1, *, pinned: bool = False) -> tuple[str, ...]:
    return noise.noise_warnings(here, num_threads, pinned=pinned)


@pytest.mark.parametrize("changes", [{}, {"governor": None}, {"load_average": None}, {"load_average": 3.0}])
def test_a_quiet_machine(changes: dict[str, Any]) -> None:
    assert noise_warnings(environment(**changes)) == ()


def test_the_run_before_this_one_is_no_noise() -> None:
    assert noise_warnings(environment(cores=1, load_average=1.0), pinned=True) == ()
    assert len(noise_warnings(environment(cores=1, load_average=1.1), pinned=True)) == 1


def test_each_warning_names_the_remedy() -> None:
    governor, load = noise_warnings(environment(governor="powersave", load_average=3.5))
    assert "`powersave`" in governor
    assert "cpupower frequency-set -g performance" in governor
    assert "3.5 on 4 cores" in load
    assert "stop it" in load


def test_one_core_is_shared_unless_it_was_chosen() -> None:
    [warning] = noise_warnings(environment(cores=1))
    assert warning.startswith("there is only one core")
    assert "two or more" in warning
    assert noise_warnings(environment(cores=1), pinned=True) == ()


@pytest.mark.parametrize(("cores", "said"), [(1, "shared 1 core and"), (3, "shared 3 cores and")])
def test_more_threads_than_cores_wait(cores: int, said: str) -> None:
    for pinned in (False, True):
        [warning] = noise_warnings(environment(cores=cores), 4, pinned=pinned)
        assert said in warning
        assert warning.endswith(f"set `num_threads` to {cores}")
    assert noise_warnings(environment(cores=4), 4) == ()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "(temperature limit)"),
        ({"temperature_c": 60.0}, "(temperature limit at 60 °C)"),
        ({"accelerator_temperature_c": 87.0}, "(temperature limit at 87 °C)"),
        ({"temperature_c": 60.0, "accelerator_temperature_c": 87.0}, "(temperature limit at 87 °C)"),
    ],
)
def test_a_device_that_slows_itself_down_says_how_hot_it_is(changes: dict[str, float], where: str) -> None:
    [warning] = noise_warnings(environment(throttling="temperature limit", **changes))
    assert where in warning
    assert "cool it" in warning
