"""An OpenSSH server on loopback for tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

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
class SshServer:
    """A running server; `user_key` may log in, `other_key` may not."""

    folder: Path
    port: int
    process: psutil.Process

    def options(self, **changes: Any) -> dict[str, Any]:
        """What a `[targets.NAME]` table needs to reach it."""
        options = {
            "host": "127.0.0.1",
            "port": self.port,
            "key": self.folder / "user_key",
            "known_hosts": self.folder / "known_hosts",
        }
        return {**options, **changes}

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def known_hosts_line(self, key: str) -> str:
        """The server's name with the public key in a file."""
        return f"[127.0.0.1]:{self.port} {(self.folder / key).read_text()}"

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
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
    port = _free_port()
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder, variables=_variables()))
    command = [SSHD, "-D", "-e", "-f", folder / "sshd_config"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL) as process:
        try:
            server = SshServer(folder, port, psutil.Process(process.pid))
            (folder / "known_hosts").write_text(server.known_hosts_line("host_key.pub"))
            _wait_for(process, port, folder / "log")
            yield server
        finally:
            for left in server.process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            process.kill()


def _variables() -> str:
    """What pip needs here, which a device has in its own configuration."""
    names = [
        name for name in os.environ if name.startswith(("PIP_", "SSL_CERT", "HTTP_", "HTTPS_", "http", "no_proxy"))
    ]
    return f"SetEnv {' '.join(f'{name}={os.environ[name]}' for name in names)}" if names else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, "the server never answered"
        time.sleep(0.02)
