"""A stand-in for QEMU: a script on the PATH that says on its console what a test wants an emulated machine to say."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

_SCRIPT = """\
#!{python} -S
import json, os, sys, time

if "--version" in sys.argv:
    print("QEMU emulator version 9.9.9 (a stand-in)")
    raise SystemExit
if "help" in sys.argv:
    print("Available CPUs:\\n  cortex-a53\\n  cortex-a72")
    raise SystemExit

def say(**message):
    print(json.dumps(message), flush=True)

def end(index, returncode=0, reply="", log=""):
    say(started=index)
    say(ended=index, returncode=returncode, reply=reply, log=log)

def after(option):
    return sys.argv[sys.argv.index(option) + 1]

"""


def install_fake_qemu(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "") -> Path:
    """Put it before the real one on the PATH; `text` is what it runs when a machine starts."""
    script = folder / "bin" / "qemu-system-aarch64"
    script.parent.mkdir(exist_ok=True)
    script.write_text(_SCRIPT.format(python=sys.executable) + textwrap.dedent(text))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return script
