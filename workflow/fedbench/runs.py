"""The run table: every run that an experiment and the registries expand to, each fully resolved."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.experiment import Registry, named, overlay, validate
from fedbench.spec import (
    CaptureSpec,
    EdgeFitSpec,
    Experiment,
    GsfsSpec,
    MirrorSource,
    ModelSpec,
    OfficialFlows,
    Partition,
    RunSpec,
    Spec,
    StrategySpec,
    SyntheticSource,
    TeacherRun,
    TrainingSpec,
)

TEMPLATE = "template"
"""The teacher that is no model."""


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
    teachers = {run.teacher.run for run in chosen if run.teacher}  # needed, wanted or not
    return {run.folder: run for run in table if run in chosen or run.folder in teachers}


def gsfs_partitions(spec: GsfsSpec) -> list[Partition]:
    """Return the partitions that the strategies run over; the first is the one set beside the paper."""
    return spec.partitions or [spec.flows.clients.partition]


def teacher(spec: EdgeFitSpec, registry: Registry, where: object = "configuration") -> ModelSpec | None:
    """Return the model that teaches Self-Instruct, None for the template teacher.

    Raises:
        FedbenchError: the name is neither `template` nor registered.
    """
    name = spec.instructions.self_instruct.teacher
    key = "edge_fit.instructions.self_instruct.teacher"
    return None if name == TEMPLATE else named({TEMPLATE: None, **registry.models}, name, key, where)


def captures(
    source: SyntheticSource | MirrorSource | OfficialFlows, registry: Registry, where: object = "configuration"
) -> dict[str, CaptureSpec]:
    """Return the captures that a source may hold: those an official one names, all for a mirror, none for a made one.

    Raises:
        FedbenchError: a name is not registered.
    """
    if isinstance(source, SyntheticSource):
        return {}
    chosen = source.captures if isinstance(source, OfficialFlows) else []
    key = "gsfs.flows.source.captures"
    return {name: named(registry.captures, name, key, where) for name in chosen or registry.captures}


def _gsfs_runs(spec: GsfsSpec, seed: int, registry: Registry, where: object) -> list[RunSpec]:
    _check_overrides(spec.overrides, {*registry.models, *registry.strategies}, "gsfs", where)
    captures(spec.flows.source, registry, where)
    common: dict[str, Any] = {
        "study": "gsfs",
        "synthetic": isinstance(spec.flows.source, SyntheticSource),
        "data": _data_digest(spec.flows, seed),
        "clients": spec.flows.clients.count,
        "partition": gsfs_partitions(spec)[0],
        "template": spec.template,
        "latency_requests": spec.latency_requests,
    }
    table = [
        RunSpec(label=f"gsfs-{baseline}-s{s}", procedure="baseline", seed=s, tier="local", baseline=baseline, **common)
        for baseline in spec.baselines
        for s in spec.central_seeds
    ]
    for name in spec.models:
        model = named(registry.models, name, "gsfs.models", where)
        training = _training(spec.training, spec.overrides, where, name)
        budget = named(registry.tiers, model.tier, f"models.{name}.tier", where).prompt_tokens
        table += [
            RunSpec(
                label=f"gsfs-centralised-{name}-s{s}",
                procedure="centralised",
                seed=s,
                tier=model.tier,
                model=model,
                training=training,
                prompt_tokens=budget,
                **common,
            )
            for s in spec.central_seeds
        ]
    model = named(registry.models, spec.federated_model, "gsfs.federated_model", where)
    tier = named(registry.tiers, spec.federation.client_tier, "gsfs.federation.client_tier", where)
    table += [
        RunSpec(
            label=f"gsfs-prompt-{template}-{model.name}-s{s}",
            procedure="prompt",
            seed=s,
            tier=spec.federation.client_tier,
            model=model,
            training=_training(spec.training, {**spec.overrides, template: keys}, where, model.name, template),
            prompt_tokens=tier.prompt_tokens,
            **common | {"template": template},
        )
        for template, keys in spec.prompts.items()
        for s in spec.central_seeds
    ]
    local = {"epochs": spec.federated_epochs}
    for name, partition in product(spec.strategies, gsfs_partitions(spec)):
        strategy = named(registry.strategies, name, "gsfs.strategies", where)
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
                teacher=_taught_by(strategy, table, where),
                federation=spec.federation,
                client_tier=tier,
                prompt_tokens=tier.prompt_tokens,
                **common | {"partition": partition},
            )
            for s in spec.seeds
        ]
    return table


def _taught_by(strategy: StrategySpec, table: list[RunSpec], where: object) -> TeacherRun | None:
    """Return the centralised run of `table` that a strategy distils from."""
    if not strategy.distillation:
        return None
    trained = {run.model.name: run for run in reversed(table) if run.procedure == "centralised" and run.model}
    run = named(trained, strategy.distillation.teacher, f"strategies.{strategy.name}.distillation.teacher", where)
    assert run.model is not None
    return TeacherRun(run=run.folder, model=run.model, training=run.training)


def _edge_fit_runs(spec: EdgeFitSpec, seed: int, registry: Registry, where: object) -> list[RunSpec]:
    _check_overrides(spec.overrides, set(registry.models), "edge_fit", where)
    strategy = named(registry.strategies, spec.strategy, "edge_fit.strategy", where)
    data, writer = _data_digest(spec.instructions, seed), teacher(spec, registry, where)
    if writer:  # its weights decide what the data are; its title does not
        data += f"-{writer.weights.digest()}"
    table = []
    for name in spec.models:
        model = named(registry.models, name, "edge_fit.models", where)
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
                        data=data,
                        clients=spec.instructions.clients.count,
                        partition=spec.instructions.clients.partition,
                        model=model,
                        training=federated if is_federated else alone,
                        strategy=strategy if is_federated else None,
                        federation=spec.federation if is_federated else None,
                        client_tier=named(
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
    has = {
        "models": run.model.name if run.model else run.baseline,
        "strategies": run.strategy.name if run.strategy else run.procedure,
        "seeds": str(run.seed),
    }
    return all(has[key] in values for key, values in only.items())


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
