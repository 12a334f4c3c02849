"""From YAML to validated configuration: the experiment file and the registries beside it."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fedbench.errors import FedbenchError
from fedbench.federation import strategies
from fedbench.spec import (
    CaptureSpec,
    Experiment,
    Inside,
    LinkedTier,
    MirrorSource,
    ModelSpec,
    Source,
    StrategySpec,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Registry:
    """What experiments may name: models, strategies, hardware tiers and the captures of IoT-23."""

    models: dict[str, ModelSpec]
    strategies: dict[str, StrategySpec]
    tiers: dict[str, LinkedTier]
    captures: dict[str, CaptureSpec]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        FedbenchError: the file is missing, is not YAML (names the line) or is not a mapping.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise FedbenchError("no such file", where=path, remedy=f"Files there: {known}.")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise FedbenchError(f"not valid YAML: {getattr(error, 'problem', error)}", where=where) from error
    if not isinstance(value, dict):
        raise FedbenchError("the top level must be a mapping of keys to values", where=path)
    return value


def read_registry(folder: Path) -> Registry:
    """Read models.yaml, strategies.yaml, tiers.yaml and captures.yaml in `folder`."""
    return Registry(
        models=_entries(folder / "models.yaml", ModelSpec, named=True),
        strategies={
            name: _with_options(spec, folder / "strategies.yaml")
            for name, spec in _entries(folder / "strategies.yaml", StrategySpec, named=True).items()
        },
        tiers=_entries(folder / "tiers.yaml", LinkedTier),
        captures=_entries(folder / "captures.yaml", CaptureSpec),
    )


def load(config: Mapping[str, Any], *, folder: Path, origin: str | None = None) -> Experiment:
    """Validate a configuration.

    Args:
        config: the merged mapping; where it names an experiment that has a file in `folder`/experiments, that file is
            the base and `config` is laid over it.
        folder: the configuration folder.
        origin: the file to name in messages.

    Raises:
        FedbenchError: names file, key, value and remedy of everything that is wrong.
    """
    name = config.get("experiment")
    path = folder / "experiments" / f"{name}.yaml"
    merged = dict(config)
    if path.is_file():
        merged = overlay(read_yaml(path), config)
    elif len(config) <= 1:  # nothing but a name: the file was meant to exist
        read_yaml(path)
    where = origin or (str(path) if path.is_file() else "configuration")
    experiment = validate(Experiment, merged, where)
    for source in sources(experiment):
        if isinstance(source, MirrorSource) and not Path(source.path).is_dir():
            raise FedbenchError(
                f"key 'source.path': the mirror folder {source.path!r} does not exist",
                where=where,
                remedy="Put the data set's original files there (README, 'Data'), point source.path at them, "
                "or use `source: {kind: synthetic}`.",
            )
    return experiment


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = overlay(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def validate(model: type[T], value: Any, where: object) -> T:
    """Validate `value` as `model`, turning every fault into one line with key, value and remedy."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        faults = [_fault(detail, model) for detail in error.errors()]
        text = faults[0] if len(faults) == 1 else "\n  - " + "\n  - ".join(faults)
        raise FedbenchError(text, where=where) from error


def sources(experiment: Experiment) -> Iterator[Source]:
    """Yield the data sources of an experiment."""
    if experiment.gsfs:
        yield experiment.gsfs.flows.source
    if experiment.edge_fit:
        yield experiment.edge_fit.instructions.source


def named(entries: Mapping[str, T], name: str, key: str, where: object) -> T:
    """Return the entry that a key names.

    Raises:
        FedbenchError: it is not registered.
    """
    if name in entries:
        return entries[name]
    raise FedbenchError(
        f"key '{key}': {name!r} is not registered",
        where=where,
        remedy=f"Use one of: {', '.join(sorted(entries))}.{_near(name, entries)}",
    )


def _entries(path: Path, model: type[T], *, named: bool = False) -> dict[str, T]:
    entries = read_yaml(path)
    for name in entries:
        validate(Inside, name, f"{path}: {name}")  # of a capture, say, it becomes the folder of the download
    return {
        name: validate(model, {"name": name, **value} if named else value, f"{path}: {name}")
        for name, value in entries.items()
    }


def _with_options(spec: StrategySpec, path: Path) -> StrategySpec:
    """Fill in and check the options of a strategy by its own module's `Options`."""
    where = f"{path}: {spec.name}"
    options = validate(strategies.options(spec.kind, where), spec.options, f"{where}.options")
    strategies.check(spec, where)
    return spec.model_copy(update={"options": options.model_dump(mode="json")})


def _fault(detail: ErrorDetails, model: Any) -> str:
    key = (
        ".".join(str(part) for part in detail["loc"] if str(part) not in ("synthetic", "mirror", "official"))
        or "(whole file)"
    )
    value = detail.get("input")
    shown = "" if isinstance(value, dict) and len(str(value)) > 80 else f", value {value!r}"
    if detail["type"] == "extra_forbidden":
        near = _near(str(detail["loc"][-1]), _all_keys(model))
        return f"key '{key}'{shown}: unknown key. Remedy: remove it or correct its spelling.{near}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"key '{key}'{shown}: {message}. Remedy: correct it (workflow/schemas/experiment.json lists every key)."


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _all_keys(model: Any) -> set[str]:
    """Return every field name reachable from a model, to suggest a spelling from."""
    found: set[str] = set()
    queue = [model]
    seen: set[Any] = set()
    while queue:
        item = queue.pop()
        if item in seen:
            continue
        seen.add(item)
        if isinstance(item, type) and issubclass(item, BaseModel):
            found |= set(item.model_fields)
            queue += [field.annotation for field in item.model_fields.values()]
        else:
            queue += [arg for arg in get_args(item) if not isinstance(arg, str)]
    return found
