"""What a budget would have to be so that a value meets it, as one would write it."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from edgecc.metrics import Better
from edgecc.search_outcome import SearchLimit
from edgecc.units import Unit, format_value, parse

_POINT_QUANTUM = Decimal("0.01")


def needed_budget(limit: SearchLimit, best: float) -> str:
    """The narrowest budget of its kind that the value `best` meets, such as `at most 31.3 kB`.

    It is rounded to the side on which it is met, as it stands there.
    """
    unit, better = limit.objective.unit, limit.objective.better
    if limit.reference is None:
        return f"{'at most' if better == 'lower' else 'at least'} {limit_that_is_met(best, unit, better)}"
    # 7 of 1,000 samples and 5 of them are 12, which their floats are not.
    loss = round(limit.objective.less_is_better(best - limit.reference), 12)
    if unit is Unit.NUMBER:
        return f"at most {limit_that_is_met(loss, unit, 'lower')} worse than {limit.reference_variant}"
    points = (Decimal(repr(loss)) * 100).quantize(_POINT_QUANTUM, ROUND_CEILING)
    return f"at most {_tidy(points)} pp below {limit.reference_variant}"


def limit_that_is_met(value: float, unit: Unit, better: Better) -> str:
    """The value in a few digits, rounded up where less is better and down where more is."""
    suffix = format_value(value, unit).partition(" ")[2]
    scale = Decimal(1) if unit is Unit.NUMBER else Decimal(repr(parse(f"1 {suffix}", unit)))
    # In decimal, as limits are read: the float that is written 23.4 kB is met by 23.4 kB, whatever its last bits are.
    number = Decimal(repr(value)) / scale
    digits = 4 if unit in (Unit.FRACTION, Unit.NUMBER) else 3
    quantum = Decimal(1).scaleb(number.adjusted() + 1 - digits)
    rounded = number.quantize(quantum, ROUND_CEILING if better == "lower" else ROUND_FLOOR)
    return f"{_tidy(rounded)} {suffix}".rstrip()


def _tidy(number: Decimal) -> str:
    """Without zeros that say nothing, and without an exponent."""
    return f"{number.normalize():f}"
