"""An OpenSSH server on loopback for tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecc.errors import TargetError
from edgecc.targets.ssh import SshTarget

Open = Callable[..., SshTarget]
"""Opens a target; an option may be changed."""

SSHD = "/usr/sbin/sshd"  # it insists on an absolute path

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
LogLevel ERROR
{variables}
"""


@dataclass(frozen=True)
class ServerFiles:
    """The keys and the configuration of a server; `user_key` may log in, `other_key` may not."""

    folder: Path
    port: int

    def options(self, **changes: Any) -> dict[str, Any]:
        """What a `[targets.NAME]` table needs to reach it."""
        options = {
            "host": "127.0.0.1",
            "port": self.port,
            "key": self.folder / "user_key",
            "known_hosts": self.folder / "known_hosts",
        }
        return {**options, **changes}

    def known_hosts_line(self, key: str) -> str:
        """The server's name with the public key in a file."""
        return f"[127.0.0.1]:{self.port} {(self.folder / key).read_text()}"


@dataclass(frozen=True)
class SshServer(ServerFiles):
    """A server that runs on this machine."""

    process: psutil.Process

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def below(self, name: str) -> list[psutil.Process]:
        """What runs below the server under a name: `sshd` are its sessions."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith(name) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@contextlib.contextmanager
def started_server(folder: Path) -> Iterator[SshServer]:
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    files = write_server_files(folder, index_variables())
    command = [SSHD, "-D", "-e", "-f", folder / "sshd_config"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL) as process:
        try:
            server = SshServer(folder, files.port, psutil.Process(process.pid))
            wait_for_answer(files.port, lambda: None if process.poll() is None else (folder / "log").read_text())
            yield server
        finally:
            for left in server.process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            process.kill()


def failing(target: SshTarget, match: str) -> TargetError:
    """What a probe says is wrong."""
    with pytest.raises(TargetError, match=match) as caught:
        target.probe()
    return caught.value


def write_server_files(folder: Path, variables: Mapping[str, str]) -> ServerFiles:
    """Keys, known_hosts, and a configuration for a free port; sessions get the variables."""
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
    files = ServerFiles(folder, _free_port())
    set_env = " ".join(["SetEnv", *(f'"{name}={value}"' for name, value in variables.items())]) if variables else ""
    (folder / "sshd_config").write_text(CONFIG.format(port=files.port, folder=folder, variables=set_env))
    (folder / "known_hosts").write_text(files.known_hosts_line("host_key.pub"))
    return files


def index_variables() -> dict[str, str]:
    """What pip needs here, which a device has in its own configuration."""
    prefixes = ("PIP_", "SSL_CERT", "HTTP_", "HTTPS_", "http", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(port: int, ended: Callable[[], str | None]) -> None:
    """Wait until something answers; `ended` gives the last words of a server that ended instead."""
    deadline_s = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert (last_words := ended()) is None, last_words
        assert time.monotonic() < deadline_s, "the server never answered"
        time.sleep(0.02)
