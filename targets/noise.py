"""What about an environment spoils timings, and what to do about it."""

from __future__ import annotations

from edgecc.results import Environment


def noise_warnings(environment: Environment) -> tuple[str, ...]:
    """One sentence for each thing that makes latencies measured here noisy; each names the remedy."""
    return tuple(warning for warning in (_governor(environment), _load(environment)) if warning is not None)


def _governor(environment: Environment) -> str | None:
    if environment.governor in (None, "performance"):
        return None
    return (
        f"the CPU frequency governor is `{environment.governor}`, so clocks change while edgecc measures; "
        "`sudo cpupower frequency-set -g performance` holds them"
    )


def _load(environment: Environment) -> str | None:
    # One busy process may be the run before this one.
    quiet = max(1.0, 0.75 * environment.cores)
    if environment.load_average is None or environment.load_average <= quiet:
        return None
    return (
        f"the load average was {environment.load_average:.1f} on {environment.cores} cores when measuring began: other "
        "work, or a compile that had just ended; stop it, or bench again when the machine is idle"
    )
