"""From YAML to validated runs: the experiment file, the registries beside it, and the run table they expand to."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fedbench.errors import FedbenchError
from fedbench.federation import strategies
from fedbench.spec import (
    EdgeFitSpec,
    Experiment,
    GsfsSpec,
    LinkedTier,
    MirrorSource,
    ModelSpec,
    Partition,
    RunSpec,
    Source,
    Spec,
    StrategySpec,
    SyntheticSource,
    TrainingSpec,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Registry:
    """What experiments may name: models, strategies and hardware tiers."""

    models: dict[str, ModelSpec]
    strategies: dict[str, StrategySpec]
    tiers: dict[str, LinkedTier]


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
    """Read models.yaml, strategies.yaml and tiers.yaml in `folder`."""
    return Registry(
        models=_entries(folder / "models.yaml", ModelSpec, named=True),
        strategies={
            name: _with_options(spec, folder / "strategies.yaml")
            for name, spec in _entries(folder / "strategies.yaml", StrategySpec, named=True).items()
        },
        tiers=_entries(folder / "tiers.yaml", LinkedTier),
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


def runs(experiment: Experiment, registry: Registry, *, where: object = "configuration") -> dict[str, RunSpec]:
    """Expand an experiment into its run table, keyed by run folder.

    Raises:
        FedbenchError: a model, strategy or override names something the registries do not have.
    """
    table: list[RunSpec] = []
    if experiment.gsfs:
        table += _gsfs_runs(experiment.gsfs, experiment.seed, registry, where)
    if experiment.edge_fit:
        table += _edge_fit_runs(experiment.edge_fit, experiment.seed, registry, where)
    chosen = [run for run in table if _wanted(run, experiment)]
    if not chosen:
        raise FedbenchError(
            f"key 'only': {dict(experiment.only)} leaves no run", where=where, remedy="Widen or remove it."
        )
    return {run.folder: run for run in chosen}


def gsfs_partitions(spec: GsfsSpec) -> list[Partition]:
    """Return the partitions that the strategies run over; the first is the one set beside the paper."""
    return spec.partitions or [spec.flows.clients.partition]


def _gsfs_runs(spec: GsfsSpec, seed: int, registry: Registry, where: object) -> list[RunSpec]:
    _check_overrides(spec.overrides, {*registry.models, *registry.strategies}, "gsfs", where)
    common: dict[str, Any] = {
        "study": "gsfs",
        "synthetic": isinstance(spec.flows.source, SyntheticSource),
        "data": _data_digest(spec.flows, seed),
        "clients": spec.flows.clients.count,
        "partition": gsfs_partitions(spec)[0],
        "latency_requests": spec.latency_requests,
    }
    table = [
        RunSpec(label=f"gsfs-{baseline}-s{s}", procedure="baseline", seed=s, tier="local", baseline=baseline, **common)
        for baseline in spec.baselines
        for s in spec.central_seeds
    ]
    for name in spec.models:
        model = _named(registry.models, name, "gsfs.models", where)
        training = _training(spec.training, spec.overrides, where, name)
        table += [
            RunSpec(
                label=f"gsfs-centralised-{name}-s{s}",
                procedure="centralised",
                seed=s,
                tier=model.tier,
                model=model,
                training=training,
                **common,
            )
            for s in spec.central_seeds
        ]
    model = _named(registry.models, spec.federated_model, "gsfs.federated_model", where)
    local = {"epochs": spec.federated_epochs}
    for name, partition in product(spec.strategies, gsfs_partitions(spec)):
        strategy = _named(registry.strategies, name, "gsfs.strategies", where)
        training = _training(spec.training, spec.overrides, where, model.name, name, extra=local)
        table += [
            RunSpec(
                label=f"gsfs-{name}-{model.name}-{partition}-s{s}",
                procedure="federated",
                seed=s,
                tier=spec.federation.client_tier,
                model=model,
                training=training,
                strategy=strategy,
                federation=spec.federation,
                client_tier=_named(registry.tiers, spec.federation.client_tier, "gsfs.federation.client_tier", where),
                **common | {"partition": partition},
            )
            for s in spec.seeds
        ]
    return table


def _edge_fit_runs(spec: EdgeFitSpec, seed: int, registry: Registry, where: object) -> list[RunSpec]:
    _check_overrides(spec.overrides, set(registry.models), "edge_fit", where)
    strategy = _named(registry.strategies, spec.strategy, "edge_fit.strategy", where)
    table = []
    for name in spec.models:
        model = _named(registry.models, name, "edge_fit.models", where)
        federated = _training(spec.training, spec.overrides, where, name)
        alone = federated.model_copy(update={"epochs": spec.epochs_alone})
        for procedure in spec.procedures:
            is_federated = procedure == "federated"
            # Zero-shot trains nothing, so a second seed would repeat the first.
            for s in spec.seeds[:1] if procedure == "zero-shot" else spec.seeds:
                table.append(
                    RunSpec(
                        label=f"edge-fit-{strategy.name if is_federated else procedure}-{name}-s{s}".replace(
                            "edge-fit-edge-fit", "edge-fit"
                        ),
                        study="edge-fit",
                        procedure=procedure,
                        seed=s,
                        tier=spec.federation.client_tier if is_federated else model.tier,
                        synthetic=isinstance(spec.instructions.source, SyntheticSource),
                        data=_data_digest(spec.instructions, seed),
                        clients=spec.instructions.clients.count,
                        partition=spec.instructions.clients.partition,
                        model=model,
                        training=federated if is_federated else alone,
                        strategy=strategy if is_federated else None,
                        federation=spec.federation if is_federated else None,
                        client_tier=_named(
                            registry.tiers, spec.federation.client_tier, "edge_fit.federation.client_tier", where
                        )
                        if is_federated
                        else None,
                        scoring=spec.scoring,
                        max_new_tokens=spec.max_new_tokens,
                        latency_requests=spec.latency_requests,
                    )
                )
    return table


def _data_digest(spec: Spec, seed: int) -> str:
    return f"{spec.digest(12)}-s{seed}"


def _wanted(run: RunSpec, experiment: Experiment) -> bool:
    only = experiment.only
    named = {
        "models": run.model.name if run.model else run.baseline,
        "strategies": run.strategy.name if run.strategy else run.procedure,
        "seeds": str(run.seed),
    }
    return all(named[key] in values for key, values in only.items())


def _training(
    base: TrainingSpec,
    overrides: Mapping[str, Mapping[str, Any]],
    where: object,
    *names: str,
    extra: Mapping[str, Any] | None = None,
) -> TrainingSpec:
    """Lay the overrides of each name, in order, over the study's training keys."""
    merged: dict[str, Any] = overlay(base.model_dump(mode="json"), extra or {})
    for name in names:
        merged = overlay(merged, overrides.get(name, {}))
    return validate(TrainingSpec, merged, f"{where}: overrides.{'/'.join(names)}")


def _check_overrides(overrides: Mapping[str, Any], known: set[str], study: str, where: object) -> None:
    for name in overrides:
        if name not in known:
            raise FedbenchError(
                f"key '{study}.overrides.{name}' names no registered model or strategy",
                where=where,
                remedy=f"Use one of: {', '.join(sorted(known))}.",
            )


def _named(entries: Mapping[str, T], name: str, key: str, where: object) -> T:
    if name in entries:
        return entries[name]
    raise FedbenchError(
        f"key '{key}': {name!r} is not registered",
        where=where,
        remedy=f"Use one of: {', '.join(sorted(entries))}.{_near(name, entries)}",
    )


def _entries(path: Path, model: type[T], *, named: bool = False) -> dict[str, T]:
    return {
        name: validate(model, {"name": name, **value} if named else value, f"{path}: {name}")
        for name, value in read_yaml(path).items()
    }


def _with_options(spec: StrategySpec, path: Path) -> StrategySpec:
    """Fill in and check the options of a strategy by its own module's `Options`."""
    where = f"{path}: {spec.name}"
    options = validate(strategies.options(spec.kind, where), spec.options, f"{where}.options")
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


__all__ = ["Registry", "load", "overlay", "read_registry", "read_yaml", "runs", "sources", "validate"]
