from __future__ import annotations

from typing import Any

import pytest

from edgecc.results import Environment
from edgecc.targets.noise import noise_warnings


def environment(**changes: Any) -> Environment:
    quiet = Environment(
        os="Linux", machine="x86_64", cpu_model="a CPU", cores=4, governor="performance", accelerator=None,
        python="3.11.0", runtimes={}, emulated=False, load_average=0.5,
    )  # fmt: skip
    return quiet.model_copy(update=changes)


@pytest.mark.parametrize("changes", [{}, {"governor": None}, {"load_average": None}, {"load_average": 3.0}])
def test_a_quiet_machine(changes: dict[str, Any]) -> None:
    assert noise_warnings(environment(**changes)) == ()


def test_the_run_before_this_one_is_no_noise() -> None:
    assert noise_warnings(environment(cores=1, load_average=1.0)) == ()
    assert len(noise_warnings(environment(cores=1, load_average=1.1))) == 1


def test_each_warning_names_the_remedy() -> None:
    governor, load = noise_warnings(environment(governor="powersave", load_average=3.5))
    assert "`powersave`" in governor
    assert "cpupower frequency-set -g performance" in governor
    assert "3.5 on 4 cores" in load
    assert "stop it" in load
