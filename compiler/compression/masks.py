"""Which weights are zero: chosen by magnitude as a schedule says, and held there while a model trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.compression.kernels import Array, Kernel
from edgecc.compiler.compression.tfmot import pruning_core
from edgecc.errors import ModelError
from edgecc.variant import MagnitudePruning

Schedule = Any
"""A PruningSchedule of tfmot: from a step to whether masks change there, and the sparsity."""

_RAMP = 0.5
"""Share of the steps over which polynomial decay climbs; in those left the model recovers at its final sparsity."""
_UPDATES = 50
"""Masks along the climb, at most. Zhu and Gupta change them every 100 to 1,000 steps of long trainings."""
_POOLING = "AVG"


def schedule(section: MagnitudePruning, steps: int) -> Schedule:
    """The sparsity by step, of `steps` there are; step 1 is before the first batch.

    With `polynomial_decay` it is s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 (Zhu and Gupta 2017, equation 1),
    and reaches its end half way. An m-by-n pattern is set at once, as tfmot does it.
    """
    _, schedules = pruning_core()
    if section.schedule == "constant" or section.m_by_n is not None:
        return schedules.ConstantSparsity(section.sparsity, begin_step=1, end_step=1, frequency=1)
    ramp = max(1, int(_RAMP * steps))
    frequency = -(-ramp // _UPDATES)
    end = 1 + ramp // frequency * frequency  # masks change every `frequency` steps, and must at the last one
    return schedules.PolynomialDecay(section.initial_sparsity, section.sparsity, 1, end, power=3, frequency=frequency)


class Masks:
    """The zeros of some kernels. What is zero stays so, whether this put it there or it was before."""

    def __init__(self, kernels: list[Kernel], section: MagnitudePruning) -> None:
        """Check that the pattern fits the kernels.

        Raises:
            ModelError: a block is larger than a kernel, or m-by-n does not divide its input channels.
        """
        _check_blocks(kernels, section.block)
        _check_m_by_n(kernels, section.m_by_n)
        whole = section.scope == "global"
        self._groups = [_Group(kernels, section)] if whole else [_Group([kernel], section) for kernel in kernels]
        self._section = section

    def begin(self, steps: int) -> None:
        """Start a training of `steps` batches: the first masks."""
        self._schedule = schedule(self._section, steps)
        self._step = 0
        self.advance()

    def advance(self) -> None:
        """Go one step on, which may change the masks, and set what is masked to zero again."""
        self._step += 1
        due = bool(self._schedule(self._step)[0])
        for group in self._groups:
            group.apply()
            if due:
                group.update(self._schedule, self._step)
                group.apply()

    def check(self) -> None:
        """Count the zeros there are.

        Raises:
            ModelError: their share is not the asked one, within one weight or block.
        """
        for group in self._groups:
            group.check()


def masking(keras: Any, masks: Masks) -> Any:
    """A Keras callback that drives the masks: after every batch, what is masked is exactly zero."""

    class Masking(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            masks.begin(self.params["epochs"] * self.params["steps"])

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            masks.advance()

    return Masking()


class _Group:
    """Kernels that share one threshold, the smallest of whose blocks of weights fall first."""

    def __init__(self, kernels: list[Kernel], section: MagnitudePruning) -> None:
        self._kernels = kernels
        self._section = section
        self._zero_before = self._count_zero()
        self._kept = [kernel.values != 0 for kernel in kernels]

    def update(self, schedule: Schedule, step: int) -> None:
        sizes = [magnitudes.size for magnitudes in self._magnitudes()]
        masks = np.split(self._choose(schedule, step).ravel(), np.cumsum(sizes)[:-1])
        self._kept = [
            self._expanded(kernel, mask) & (kernel.values != 0)
            for kernel, mask in zip(self._kernels, masks, strict=True)
        ]

    def apply(self) -> None:
        import tensorflow as tf

        for kernel, kept in zip(self._kernels, self._kept, strict=True):
            weights = kernel.variable.value
            # Not their product: that makes -0.0 of negative weights, which compresses worse.
            kernel.variable.assign(tf.where(kept, weights, tf.zeros_like(weights)))

    def check(self) -> None:
        blocks = sum(magnitudes.size for magnitudes in self._magnitudes())
        m_by_n = self._section.m_by_n
        asked = blocks * (m_by_n[0] / m_by_n[1] if m_by_n else self._section.sparsity)
        # tfmot rounds the count of weights to float32.
        slack = 1 + blocks * np.finfo(np.float32).eps
        if not asked - slack <= self._count_zero() <= asked + slack + self._zero_before:
            names = ", ".join(f"`{kernel.layer}`" for kernel in self._kernels)
            what = "weights" if self._section.block == (1, 1) else "blocks"
            raise ModelError(
                f"expected {asked:.0f} of the {blocks} {what} of {names} to be zero; {self._count_zero()} are"
            )

    def _choose(self, schedule: Schedule, step: int) -> Array:
        """True for what is kept, as tfmot chooses it."""
        import tensorflow as tf

        core, _ = pruning_core()
        scores = tf.Variable(self._scores())
        mask, threshold = tf.Variable(tf.ones_like(scores)), tf.Variable(tf.zeros((), scores.dtype))
        pruned = [(scores, mask, threshold)]
        pruning = core.Pruning(lambda: step, pruned, schedule, (1, 1), _POOLING, self._section.m_by_n)
        pruning.conditional_mask_update()
        return np.asarray(mask.numpy() != 0)

    def _scores(self) -> Array:
        """What stands for the weights: for m-by-n they themselves, else the ranks of their blocks.

        tfmot keeps every weight that equals its threshold; no two ranks are equal, so the count is exact.
        """
        if self._section.m_by_n is not None:
            return self._matrices()[0]
        magnitudes = np.concatenate([each.ravel() for each in self._magnitudes()])
        ranks = np.empty(len(magnitudes), np.int32)
        ranks[np.argsort(magnitudes, kind="stable")] = np.arange(len(magnitudes), dtype=np.int32)
        return ranks

    def _matrices(self) -> list[Array]:
        return [kernel.as_matrix(kernel.values) for kernel in self._kernels]

    def _magnitudes(self) -> list[Array]:
        return [pooled(np.abs(matrix), self._section.block) for matrix in self._matrices()]

    def _count_zero(self) -> int:
        return sum(int((magnitudes == 0).sum()) for magnitudes in self._magnitudes())

    def _expanded(self, kernel: Kernel, mask: Array) -> Array:
        (height, width), shape = self._section.block, kernel.as_matrix(kernel.values).shape
        blocks = mask.reshape(-(-shape[0] // height), -(-shape[1] // width))
        return kernel.from_matrix(blocks.repeat(height, 0).repeat(width, 1)[: shape[0], : shape[1]])


def pooled(matrix: npt.NDArray[Any], block: tuple[int, int]) -> npt.NDArray[Any]:
    """The mean of each block of a matrix; those at the lower and right edges may be smaller."""
    if block == (1, 1):
        return matrix
    starts = [np.arange(0, size, step) for size, step in zip(matrix.shape, block, strict=True)]
    sums, counts = (
        np.add.reduceat(np.add.reduceat(each, starts[0], axis=0), starts[1], axis=1)
        for each in (matrix, np.ones_like(matrix))
    )
    return np.asarray(sums / counts)


def _check_blocks(kernels: list[Kernel], block: tuple[int, int]) -> None:
    for kernel in kernels:
        shape = kernel.as_matrix(kernel.values).shape
        if block[0] > shape[0] or block[1] > shape[1]:
            raise ModelError(
                f"prune.block: expected blocks no larger than a kernel; got {list(block)}, and that of "
                f"`{kernel.layer}` is a matrix of {shape[0]} by {shape[1]}",
                hint=f'smaller blocks, or exclude = ["{kernel.layer}"]',
            )


def _check_m_by_n(kernels: list[Kernel], m_by_n: tuple[int, int] | None) -> None:
    if m_by_n is None:
        return
    misfits = {kernel.layer: kernel.channels for kernel in kernels if kernel.channels % m_by_n[1]}
    if misfits:
        told = ", ".join(f"`{layer}` has {channels}" for layer, channels in misfits.items())
        names = ", ".join(f'"{layer}"' for layer in misfits)
        raise ModelError(
            f"prune.m_by_n: expected input channels that are a multiple of {m_by_n[1]}; {told}",
            hint=f"exclude = [{names}]" if len(misfits) < len({kernel.layer for kernel in kernels}) else None,
        )
