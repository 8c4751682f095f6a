"""The target against an ARM64 Linux that QEMU emulates: the whole way that a Raspberry Pi would go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.progress import Silent
from edgecc.targets.arm64.emulator import is_native
from edgecc.targets.arrays import read_outputs
from edgecc.targets.runner import describe_environment
from edgecc.targets.ssh import SshOptions, SshTarget
from edgecc.targets.wire import OutputsTask
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

from ..conftest import require
from .ssh_container import build_server_image, started_container


@pytest.mark.ssh
@pytest.mark.docker
def test_an_arm64_is_set_up_and_gives_the_outputs_of_an_x86(
    arm64_image: str, make_request: Any, cnn_int8: Path, images: Any, tmp_path: Path
) -> None:
    require("ssh")
    (tmp_path / "server").mkdir()
    request = make_request(cnn_int8, OutputsTask(), inputs=images)
    with started_container(build_server_image(arm64_image), tmp_path / "server") as server:
        options = SshOptions.model_validate(server.options(user="root", connect_timeout="60 s"))
        with SshTarget("pi", options) as pi:
            pi.set_up(Silent())
            environment = pi.probe()
            reply = pi.run(request, timeout_s=120)
    assert not server.is_there()
    assert environment.machine == "aarch64"
    assert environment.emulated != is_native()
    assert environment.runtimes == describe_environment()["runtimes"]

    assert reply.failure is None
    (there,) = read_outputs(Path(request.outputs_path))
    X86CpuTarget("host", X86CpuOptions()).run(request, timeout_s=60)
    (here,) = read_outputs(Path(request.outputs_path))
    assert there.dtype == np.int8
    np.testing.assert_array_equal(there, here)
