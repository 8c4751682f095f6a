"""What to install elsewhere for the same results as here."""

from __future__ import annotations

from edgecc.errors import TargetError
from edgecc.targets.runner import RUNTIMES, installed_version
from edgecc.targets.wire import Runtime


def requirement(runtime: Runtime) -> str:
    """The runtime's package in the version that is installed here, as pip takes it; for a processor, whichever is here.

    Raises:
        TargetError: it is not installed here.
    """
    package, version = RUNTIMES[runtime].distributions[0], installed_version(RUNTIMES[runtime])
    if version is None:
        raise TargetError(
            f"expected {package} here, whose version the target is to have", hint=f"pip install {package}"
        )
    return f"{package}=={version}"
