"""What about an environment spoils timings, and what to do about it."""

from __future__ import annotations

from edgecc.results import Environment


def noise_warnings(environment: Environment, num_threads: int, *, pinned: bool) -> tuple[str, ...]:
    """One sentence for each thing that makes latencies measured here noisy; each names the remedy.

    Args:
        environment: where something is measured; `cores` are those that it may use.
        num_threads: of the runtime.
        pinned: whether cores were chosen for it, so that others are left for all else.
    """
    found = (
        _governor(environment),
        _cores(environment, num_threads, pinned=pinned),
        _load(environment),
        _throttling(environment),
    )
    return tuple(warning for warning in found if warning is not None)


def _governor(environment: Environment) -> str | None:
    if environment.governor in (None, "performance"):
        return None
    return (
        f"the CPU frequency governor is `{environment.governor}`, so clocks change while edgecc measures; "
        "`sudo cpupower frequency-set -g performance` holds them"
    )


def _cores(environment: Environment, num_threads: int, *, pinned: bool) -> str | None:
    cores = environment.cores
    if num_threads > cores:
        return (
            f"{num_threads} threads shared {cores} {'core' if cores == 1 else 'cores'} and waited for one another; "
            f"set `num_threads` to {cores}"
        )
    if cores > 1 or pinned:
        return None
    return (
        "there is only one core, which everything else on the device interrupts; stop what need not run, or measure "
        "on a device with two or more"
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


def _throttling(environment: Environment) -> str | None:
    if environment.throttling is None:
        return None
    hottest_c = max(
        (value for value in (environment.temperature_c, environment.accelerator_temperature_c) if value is not None),
        default=None,
    )
    heat = "" if hottest_c is None else f" at {hottest_c:.0f} °C"
    return f"the device slows itself down ({environment.throttling}{heat}); cool it, or give it a better power supply"
