"""Whether an artifact is worse than its baseline by more than a budget allows: yes, no, or not known yet.

The budget is broken where the interval of the ratio lies wholly beyond the limit, and kept where it lies wholly within.
In between nothing is known, and more processes are measured, up to a time limit. Every look at the numbers is a chance
to be wrong, and so is every budget: each interval is made so confident that all of them together, over all looks of
one bench, pass a budget wrongly in at most 5 % of benches, and break one wrongly in as many (Bonferroni's inequality).
Four fifths of that are kept for the last look, since a bench that was not decided before is decided by it.
"""

from __future__ import annotations

from edgecc.metrics import METRICS
from edgecc.results import Ratio, Status

SIDE_BY_SIDE = frozenset(name for name, metric in METRICS.items() if metric.device_only and name != "memory.arena")
"""The metrics that can only be compared within one session."""
ERROR_RATE = 0.05
"""How often one bench may be wrong about any of its budgets, in each direction."""
LOOKS = (12, 16, 22, 30, 40, 60, 90, 135, 200)
"""After so many processes of each artifact the numbers are looked at, and once more when the time ends."""
_LAST_SHARE = 0.8
"""The last look's part of the error rate; the others share the rest."""


def confidence_for(budgets: int, *, is_last: bool) -> float:
    """What each two-sided interval of a look needs where so many budgets are judged in one bench."""
    share = _LAST_SHARE if is_last else (1 - _LAST_SHARE) / (len(LOOKS) - 1)
    return 1 - 2 * ERROR_RATE * share / max(1, budgets)


def worsening(metric: str, ratio: Ratio) -> Ratio:
    """The same with more being worse, whichever way the metric is better."""
    if METRICS[metric].better == "lower":
        return ratio
    turned = {"value": 1 / ratio.value, "low": 1 / ratio.high, "high": 1 / ratio.low}
    return ratio.model_copy(update=turned)


def judge(metric: str, ratio: Ratio, limit: float) -> Status:
    """Judge a ratio of today's artifact to its baseline.

    Args:
        metric: what was measured.
        ratio: today's over the baseline's.
        limit: by which part it may be worse: 0.01 for 1 %.
    """
    worse = worsening(metric, ratio)
    if worse.low > 1 + limit:
        return Status.FAIL
    return Status.PASS if worse.high <= 1 + limit else Status.INCONCLUSIVE
