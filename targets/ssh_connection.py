"""An SSH connection to a program on a device: the host's key is checked, nobody is asked for a password.

The library, paramiko, is imported when something connects: checking a project file must be quick.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgecc.errors import TargetError

if TYPE_CHECKING:
    import paramiko

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
FINISH_S = 5.0
"""How long a program may take to end by itself once its stdin is closed."""
SEND_S = 90.0
"""How long the other side may take nothing of what is sent."""
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""The two kernels look after a silent connection: a device that was unplugged is noticed within 30 s, and unlike with
SSH's own keepalive no process wakes up on a device that is measuring."""

_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\[\]\s]+\]|[^@:\s\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """Where an SSH server is, and as whom to log in."""

    user: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_user: str) -> Address:
        """Read `host`, `user@host` or `user@host:port`.

        Raises:
            ValueError: it is none of these.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or not 0 < int(match["port"] or 22) < 65536:
            raise ValueError(f"an address like user@host:22; got {text!r}")
        return cls(match["user"] or default_user, match["host"].strip("[]"), int(match["port"] or 22))

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"

    @property
    def known_as(self) -> str:
        """Its name in a known_hosts file."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


@dataclass(frozen=True)
class Login:
    """How to log in, and whom to trust."""

    key: Path | None
    """A private key; without it those of the ssh-agent and the default ones in ~/.ssh are tried."""
    known_hosts: Path
    timeout_s: float


class Connection:
    """One program that runs on a device: a `Stream` of its stdin and stdout."""

    def __init__(self, address: Address, jump: Address | None, login: Login, command: str) -> None:
        """Connect, through `jump` where there is one, and start a command in the user's shell.

        Raises:
            TargetError: no answer, a host key that is not known or was changed, no key of ours accepted.
        """
        _paramiko()
        self._transports: list[paramiko.Transport] = []
        try:
            for hop in [address] if jump is None else [jump, address]:
                self._transports.append(_log_in(hop, self._way_to(hop, login), login))
            with _reaching(address):
                self._channel = self._transports[-1].open_session(timeout=login.timeout_s)
                self._channel.settimeout(login.timeout_s)
                self._channel.exec_command(command)
        except BaseException:
            self._close()
            raise

    def send(self, data: bytes) -> None:
        """Send all of it; raises OSError."""
        self._channel.settimeout(SEND_S)
        self._channel.sendall(data)

    def receive(self, size_bytes: int, timeout_s: float) -> bytes:
        """Some bytes, or none at the end; raises TimeoutError and OSError."""
        self._channel.settimeout(timeout_s)
        return bytes(self._channel.recv(size_bytes))

    def finish(self) -> None:
        """Close the program's stdin, give it some seconds to end, and close the connection. Never raises."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
            self._channel.status_event.wait(FINISH_S)
        self._close()

    def last_words(self) -> str:
        """How the program ended, where the server still told."""
        if not self._channel.status_event.wait(0.5) or self._channel.exit_status < 0:
            return ""
        said = self._stderr().strip().splitlines()
        ending = f"the program there ended with exit status {self._channel.exit_status}"
        return f"{ending}: {said[-1]}" if said else ending

    def _stderr(self) -> str:
        self._channel.settimeout(0.5)
        try:
            return bytes(self._channel.recv_stderr(1 << 16)).decode(errors="replace")
        except OSError:
            return ""

    def _way_to(self, hop: Address, login: Login) -> Any:
        with _reaching(hop):
            if self._transports:
                there = (hop.host, hop.port)
                return self._transports[-1].open_channel("direct-tcpip", there, ("", 0), timeout=login.timeout_s)
            plain = socket.create_connection((hop.host, hop.port), login.timeout_s)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            return plain

    def _close(self) -> None:
        for transport in reversed(self._transports):
            transport.close()


@functools.cache
def _paramiko() -> ModuleType:
    try:
        import paramiko
    except ImportError as error:
        raise TargetError(
            f"a target of kind `ssh` needs paramiko, which cannot be imported: {error}",
            hint="pip install 'edgecc[ssh]'",
        ) from error
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # or tracebacks go to the terminal
    return paramiko


@contextlib.contextmanager
def _reaching(address: Address) -> Iterator[None]:
    """Turn what goes wrong on the way to a server into a TargetError."""
    try:
        yield
    except TimeoutError as error:
        raise TargetError(f"{address} does not answer", hint="is it on, and is `host` right?") from error
    except (OSError, EOFError, _paramiko().SSHException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TargetError(f"{address} cannot be reached: {why}") from error


def _log_in(address: Address, way: Any, login: Login) -> paramiko.Transport:
    with _reaching(address):
        transport: paramiko.Transport = _paramiko().Transport(way)
        try:
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = login.timeout_s
            known = _known_keys(login.known_hosts, address)
            _prefer(transport, known)
            transport.start_client(timeout=login.timeout_s)
            _check_host_key(transport.get_remote_server_key(), known, address, login)
            _authenticate(transport, address, login)
        except BaseException:
            transport.close()
            raise
        return transport


def _known_keys(known_hosts: Path, address: Address) -> list[paramiko.PKey]:
    """The keys that a server may show. A line that cannot be read vouches for nothing."""
    keys = []
    for line in _lines(known_hosts):
        with contextlib.suppress(ValueError, _paramiko().SSHException, _paramiko().hostkeys.InvalidHostKey):
            entry = _paramiko().hostkeys.HostKeyEntry.from_line(line)
            if entry is not None and any(_is_name_of(name, address) for name in entry.hostnames):
                keys.append(entry.key)
    return keys


def _lines(known_hosts: Path) -> list[str]:
    """The lines of a known_hosts file; the library would stumble over those with a marker, such as @revoked."""
    try:
        lines = [line.strip() for line in known_hosts.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return []
    return [line for line in lines if line and line[0] not in "#@"]


def _is_name_of(name: str, address: Address) -> bool:
    """Whether a name in a known_hosts file, which may be hashed, is the server's."""
    keys = _paramiko().HostKeys()
    return bool(name == address.known_as or (name.startswith("|1|") and keys.hash_host(address.known_as, name) == name))


def _prefer(transport: paramiko.Transport, known: list[paramiko.PKey]) -> None:
    """Ask for a key of a type that is known: a server has several."""
    types = {key.get_name() for key in known}
    if "ssh-rsa" in types:
        types |= {"rsa-sha2-512", "rsa-sha2-256"}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: name not in types)


def _check_host_key(shown: paramiko.PKey, known: list[paramiko.PKey], address: Address, login: Login) -> None:
    where = f"{address.known_as} in {login.known_hosts}"
    name = f"{shown.get_name()} {shown.fingerprint}"
    if _is_revoked(shown, login.known_hosts):
        raise TargetError(f"{address}: its host key {name} is marked as revoked in {login.known_hosts}")
    if not known:
        options = f"-p {address.port} {shlex.quote(address.host)} >> {shlex.quote(str(login.known_hosts))}"
        raise TargetError(
            f"{address}: its host key is not known; it shows {name}, and there is no {where}",
            hint="compare that with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the device (or "
            f"the key of that type); where they are the same: ssh-keyscan {options}",
        )
    if shown not in known:
        expected = ", ".join(f"{key.get_name()} {key.fingerprint}" for key in known)
        raise TargetError(
            f"{address}: THE HOST KEY HAS CHANGED. Expected {expected}, which is known for {where}; it shows {name}. "
            "Somebody may stand between you and the device, or the device was set up anew",
            hint=f"only if you know why it changed: ssh-keygen -R {shlex.quote(address.known_as)} "
            f"-f {shlex.quote(str(login.known_hosts))}, then add the new key",
        )


def _is_revoked(shown: paramiko.PKey, known_hosts: Path) -> bool:
    try:
        words = [line.split() for line in known_hosts.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return False
    return any(line[:1] == ["@revoked"] and shown.get_base64() in line for line in words)


def _authenticate(transport: paramiko.Transport, address: Address, login: Login) -> None:
    """With keys alone, of which the first that is accepted counts."""
    tried = 0
    for key in _own_keys(login):
        tried += 1
        with contextlib.suppress(_paramiko().AuthenticationException):
            transport.auth_publickey(address.user, key)
            if transport.is_authenticated():
                return
    said = "there was no key to try" if tried == 0 else f"it accepted none of {tried} {'key' if tried == 1 else 'keys'}"
    identity = "" if login.key is None else f"-i {shlex.quote(str(login.key))} "
    raise TargetError(
        f"{address}: {said}",
        hint=f"ssh-copy-id {identity}-p {address.port} {shlex.quote(f'{address.user}@{address.host}')}; a key with a "
        "passphrase has to be in the ssh-agent (`ssh-add`), since edgecc asks for nothing",
    )


def _own_keys(login: Login) -> Iterator[paramiko.PKey]:
    if login.key is not None:
        yield from _keys_in([login.key], login.key)
    agent = _paramiko().Agent()
    try:
        yield from agent.get_keys()
    finally:
        agent.close()
    if login.key is None:
        yield from _keys_in([path for name in DEFAULT_KEYS if (path := Path.home() / ".ssh" / name).is_file()])


def _keys_in(paths: list[Path], named: Path | None = None) -> Iterator[paramiko.PKey]:
    """The private keys in these files, without those that have a passphrase: the ssh-agent may hold them."""
    for path in paths:
        try:
            yield _paramiko().PKey.from_path(path)
        except (TypeError, _paramiko().PasswordRequiredException):
            continue  # it has a passphrase
        except (OSError, ValueError, _paramiko().SSHException, _paramiko().UnknownKeyType) as error:
            if named is not None:
                raise TargetError(f"{named}: expected a private key; it cannot be read: {error}") from error
