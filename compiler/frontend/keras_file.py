"""Reading and writing model files: errors in one sentence, no foreign code, and equal bytes for equal models."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgecc.compiler.frontend.h5_file import SUFFIXES as H5_SUFFIXES
from edgecc.compiler.frontend.h5_file import carries_code, load_h5, read_h5_config
from edgecc.errors import ModelError
from edgecc.user_code import import_module

_NO_DATE = "1980-01-01@00:00:00"
_CUSTOM_HINT = "put the module in which the class was when the model was saved into the project's folder"
_LOADING_HINT = 'save it with `model.save("model.keras")` of Keras 3'
_H5_HINT = (
    "an .h5 file does not say where classes and functions of your own are: load it in Python, and save it with "
    '`model.save("model.keras")` of Keras 3'
)


def read_keras_file(
    keras: Any, path: Path, project_dir: Path, *, allow_code: bool = False, builder_module: str | None = None
) -> Any:
    """Load a model, uncompiled. Custom layers are imported from the project's own modules.

    Args:
        keras: the Keras module of `fresh_keras`.
        path: a `.keras` file, or an `.h5` file of Keras 2 or 3.
        project_dir: where the modules of custom layers are.
        allow_code: run the Python code that the file carries (Lambda layers).
        builder_module: where functions of the user's own (activations) are registered; the file does not say.

    Raises:
        ModelError: no such file, not a model file, damaged, with Python code inside, or with a custom layer that no
            module of the project defines.
        UserCodeError: such a module raised when it was imported.
    """
    config = _read_config(path)
    if not allow_code and any(carries_code(node) for node in _nodes(config)):
        raise ModelError(
            f"{path}: the model carries Python code in a Lambda layer, which loading it would run",
            hint="if you trust the file, set `allow_code = true` under [model]; a layer class of your own is better",
        )
    if builder_module is not None and _has_registered_functions(config):
        import_module(builder_module, project_dir, needed_by=str(path))
    custom_objects = dict(_custom_objects(config, project_dir))
    options = {"custom_objects": custom_objects, "compile": False, "safe_mode": not allow_code}
    try:
        if path.suffix in H5_SUFFIXES:
            return load_h5(keras, path, config, **options)
        return keras.saving.load_model(path, **options)
    except Exception as error:  # Keras raises whatever a config or an HDF5 file leads it to
        missing = _missing_classes(config, custom_objects)
        if missing:
            raise ModelError(
                f"{path}: no module of the project defines {', '.join(missing)}", hint=_CUSTOM_HINT
            ) from error
        hint = _H5_HINT if path.suffix in H5_SUFFIXES else _LOADING_HINT
        raise ModelError(f"{path}: Keras cannot load it: {cause_in_words(error)}", hint=hint) from error


def write_keras_file(model: Any, path: Path) -> None:
    """Save a model so that equal models give equal bytes: Keras writes times and memory addresses into the file."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    members["metadata.json"] = _edited(members["metadata.json"], lambda data: data.update(date_saved=_NO_DATE))
    members["config.json"] = _edited(members["config.json"], _replace_addresses)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    path.write_bytes(buffer.getvalue())


def _edited(content: bytes, edit: Callable[[Any], None]) -> bytes:
    data = json.loads(content)
    edit(data)
    return json.dumps(data).encode()


def _replace_addresses(config: Any) -> None:
    """Number the layers that occur twice, where Keras notes their addresses.

    Other objects (policies, initializers) are made for the moment of saving; two of them may get one address by
    chance, and nothing depends on their being one.
    """
    numbers: dict[int, int] = {}
    for node in _nodes(config):
        address = node.pop("shared_object_id", None)
        if address is not None and "dtype" in node["config"]:
            node["shared_object_id"] = numbers.setdefault(address, len(numbers))


def _read_config(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix in H5_SUFFIXES:
        return read_h5_config(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelError(f"{path}: expected a .keras file; {cause_in_words(error)}", hint=_LOADING_HINT) from error
    if damaged is not None:
        raise ModelError(f"{path}: the file is damaged: {damaged} does not match its checksum")
    return config


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a configuration."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _custom_objects(config: Any, project_dir: Path) -> Iterator[tuple[str, Any]]:
    """The classes in a configuration that the project's own modules define, by registered name.

    Only these are imported: a file from elsewhere must not choose which modules run.
    """
    for node in _nodes(config):
        module, name = node.get("module"), node.get("class_name")
        if isinstance(module, str) and isinstance(name, str) and _is_in_project(module, project_dir):
            found = getattr(import_module(module, project_dir, needed_by=f"{module}.{name}"), name, None)
            if found is not None:
                yield node.get("registered_name") or name, found


def _has_registered_functions(config: Any) -> bool:
    return any(node.get("class_name") == "function" and ">" in str(node.get("config")) for node in _nodes(config))


def _missing_classes(config: Any, custom_objects: Mapping[str, Any]) -> list[str]:
    """What is neither Keras's own nor was found in the project, as `module.name`."""
    foreign = [
        node for node in _nodes(config)
        if isinstance(node.get("module"), str) and isinstance(node.get("class_name"), str)
        and node["module"].split(".")[0] not in {"keras", "builtins"}
    ]  # fmt: skip
    missing = [node for node in foreign if (node.get("registered_name") or node["class_name"]) not in custom_objects]
    return sorted({f"{node['module']}.{node['class_name']}" for node in missing})


def _is_in_project(module: str, project_dir: Path) -> bool:
    path = project_dir.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def cause_in_words(error: Exception) -> str:
    """What went wrong, out of the configuration that Keras prints around it."""
    text = str(error).rpartition("Exception encountered: ")[2].strip()
    return (text or type(error).__name__).splitlines()[0][:300]
