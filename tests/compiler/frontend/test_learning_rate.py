from __future__ import annotations

import pytest

from edgecc.compiler.frontend.learning_rate import rate_at
from edgecc.training import ConstantThenExponential, Cosine, LearningRate, Plateau, Step

CONSTANT = ConstantThenExponential(
    schedule="constant_then_exponential", initial=0.01, constant_epochs=10, decay_rate=0.5
)
WARM = ConstantThenExponential(
    schedule="constant_then_exponential", initial=0.01, warmup_epochs=3, constant_epochs=2, decay_rate=0.1
)
COSINE = Cosine(schedule="cosine", initial=1.0, final=0.2)
STEP = Step(schedule="step", initial=0.8, every_epochs=5, factor=0.25)
PLATEAU = Plateau(schedule="plateau", initial=0.3, warmup_epochs=1)


@pytest.mark.parametrize(
    ("schedule", "epoch", "epochs", "expected"),
    [
        (CONSTANT, 0, 20, 0.01),
        (CONSTANT, 9, 20, 0.01),
        (CONSTANT, 10, 20, 0.005),
        (CONSTANT, 12, 20, 0.00125),
        (WARM, 0, 20, 0.0025),
        (WARM, 2, 20, 0.0075),
        (WARM, 3, 20, 0.01),
        (WARM, 4, 20, 0.01),
        (WARM, 5, 20, 0.001),
        (WARM, 6, 20, 0.0001),
        (COSINE, 0, 4, 1.0),
        (COSINE, 1, 4, 0.8828427),  # 0.2 + 0.4 (1 + cos 45°)
        (COSINE, 2, 4, 0.6),
        (COSINE, 3, 4, 0.3171573),
        (STEP, 4, 20, 0.8),
        (STEP, 5, 20, 0.2),
        (STEP, 10, 20, 0.05),
        (PLATEAU, 0, 20, 0.15),
        (PLATEAU, 1, 20, 0.3),
        (PLATEAU, 19, 20, 0.3),
    ],
)
def test_rates_are_the_ones_worked_out_by_hand(
    schedule: LearningRate, epoch: int, epochs: int, expected: float
) -> None:
    assert rate_at(schedule, epoch, epochs) == pytest.approx(expected, rel=1e-6)
