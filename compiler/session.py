"""TensorFlow and Keras, set up the same way for every stage, so that a stage's output depends on its inputs alone."""

from __future__ import annotations

import os
from typing import Any

from edgecc.errors import MissingExtraError, ModelError

_BACKEND_HINT = 'unset KERAS_BACKEND, and set "backend" to "tensorflow" in ~/.keras/keras.json'


def fresh_keras(seed: int, *, needed_by: str) -> Any:
    """Import Keras on TensorFlow, forget what earlier stages left in it, and seed everything.

    Layer names count up from zero again, and operations are deterministic: the same stage gives the same bytes
    whether it runs first, after others, or after a kill.

    Returns:
        The `keras` module.

    Raises:
        MissingExtraError: TensorFlow or Keras is not installed.
        ModelError: Keras is set to another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise ModelError(f"Keras cannot be imported: {error}", hint=_BACKEND_HINT) from error
        library = "Keras" if error.name == "keras" else "TensorFlow"
        raise MissingExtraError(needed_by=needed_by, library=library, extra="compile") from error
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"expected Keras on TensorFlow; got the backend `{keras.backend.backend()}`",
            hint=_BACKEND_HINT,
        )
    keras.utils.clear_session(free_memory=False)
    # What a keras.json in the user's home sets would change models without a trace in the project.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return keras
