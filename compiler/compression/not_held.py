"""What a scheme cannot hold of a model: never quantized in name and float in fact."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgecc.errors import ModelError
from edgecc.variant import Quantization

_SHOWN = 8
_KEEP = "keep its layer in float with `keep`"


@dataclass(frozen=True)
class NotHeld:
    """An operator that is not in the scheme, and how it shows."""

    kind: str
    tensor: str
    """The tensor that it gives."""
    shows: str
    """Such as `computes in float`."""


class NotHeldError(ModelError):
    """A model has operators that a scheme cannot hold.

    Args:
        scheme: what the model was to be quantized to.
        found: what is not in it.
        others: schemes that could hold all of it, the nearest first.
    """

    def __init__(self, scheme: Quantization, found: Sequence[NotHeld], others: Collection[Quantization]) -> None:
        self.scheme, self.found, self.others = scheme, tuple(found), tuple(others)
        told = [f"{each.kind} (tensor `{each.tensor}`) {each.shows}" for each in found]
        super().__init__(_message(scheme, told), hint=_hint(_KEEP, others))

    def in_layers(self, layers: Mapping[str, str]) -> ModelError:
        """The same with the layers to keep; `layers` gives each tensor's layer."""
        if not all(each.tensor in layers for each in self.found):
            return self
        told = [f"{each.kind} in the layer `{layers[each.tensor]}` {each.shows}" for each in self.found]
        names = ", ".join(dict.fromkeys(f'"{layers[each.tensor]}"' for each in self.found))
        return ModelError(
            _message(self.scheme, list(dict.fromkeys(told))),
            hint=_hint(f"leave it in float with `keep = [{names}]`", self.others),
        )


def _message(scheme: Quantization, told: Sequence[str]) -> str:
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return f"expected a model that {scheme} can hold; {'; '.join(told[:_SHOWN])}{more}"


def _hint(keep: str, others: Collection[Quantization]) -> str:
    quoted = [f'"{other}"' for other in others]
    if not quoted:
        return keep
    listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    return f"{keep}, or quantize to {listed}"
