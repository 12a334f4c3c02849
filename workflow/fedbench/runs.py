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
    FederationSpec,
    GsfsSpec,
    MemorySpec,
    MirrorSource,
    ModelSpec,
    OfficialFlows,
    Partition,
    RandomWeights,
    RunSpec,
    Spec,
    StrategySpec,
    SyntheticSource,
    TeacherRun,
    Tier,
    TrainingSpec,
)

GATEWAY: Tier = "gateway"
"""The tier of what stands between clients and cloud in a hierarchy."""

TEMPLATE = "template"
"""The teacher that is no model."""


def runs(experiment: Experiment, registry: Registry, *, where: object = "configuration") -> dict[str, RunSpec]:
    """Expand an experiment into its run table, keyed by run folder.

    Raises:
        FedbenchError: a model, strategy or override names something the registries do not have.
    """
    table: list[RunSpec] = []
    if experiment.edge_fit:
        shapes(experiment.report.memory, registry, where)
    if experiment.gsfs:
        table += _gsfs_runs(experiment.gsfs, experiment.seed, registry, where)
    if experiment.edge_fit:
        table += _edge_fit_runs(experiment.edge_fit, experiment.seed, registry, where)
    # By folder, which is a digest of the whole run: comparing runs with runs takes seconds where there are thousands.
    folders = {run.folder: run for run in table}
    chosen = {folder for folder, run in folders.items() if _wanted(run, experiment)}
    if not chosen:
        raise FedbenchError(
            f"key 'only': {dict(experiment.only)} leaves no run", where=where, remedy="Widen or remove it."
        )
    # A teacher is needed, wanted or not.
    chosen |= {run.teacher.run for folder, run in folders.items() if folder in chosen and run.teacher}
    return {folder: run for folder, run in folders.items() if folder in chosen}


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


def shapes(spec: MemorySpec, registry: Registry, where: object = "configuration") -> dict[str, dict[str, Any]]:
    """Return the configurations of the models whose memory is predicted.

    Raises:
        FedbenchError: a model or tier is not registered, or the model's configuration is not in its entry.
    """
    for tier in spec.tiers:
        named(registry.tiers, tier, "report.memory.tiers", where)
    found = {}
    for name in spec.models:
        weights = named(registry.models, name, "report.memory.models", where).weights
        if not isinstance(weights, RandomWeights):
            raise FedbenchError(
                f"key 'report.memory.models': the configuration of {name!r} is not known before it is fetched",
                where=where,
                remedy="Name an entry with weights of kind random, such as llama-2-7b-shape.",
            )
        found[name] = weights.config
    return found


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
    wanted = [(name, partition, spec.seeds) for name, partition in product(spec.strategies, gsfs_partitions(spec))]
    wanted += [
        (name, gsfs_partitions(spec)[0], spec.group_seeds or spec.seeds)
        for group in spec.groups.values()
        for name in (group.base, *group.strategies)
    ]
    for name, partition, seeds in wanted:
        strategy = named(registry.strategies, name, "gsfs.strategies", where)
        used: list[Tier] = [*spec.federation.tiers, *([GATEWAY] if strategy.kind == "hierarchical" else [])]
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
                tiers={n: named(registry.tiers, n, "gsfs.federation.tiers", where) for n in used},
                prompt_tokens=tier.prompt_tokens,
                **common | {"partition": partition},
            )
            for s in seeds
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
    data, writer = _data_digest(spec.instructions, seed), teacher(spec, registry, where)
    if writer:  # its weights decide what the data are; its title does not
        data += f"-{writer.weights.digest()}"
    common: dict[str, Any] = {
        "study": "edge-fit",
        "synthetic": isinstance(spec.instructions.source, SyntheticSource),
        "data": data,
        "clients": spec.instructions.clients.count,
        "partition": spec.instructions.clients.partition,
        "scoring": spec.scoring,
        "max_new_tokens": spec.max_new_tokens,
        "latency_requests": spec.latency_requests,
    }
    table = []
    for name in spec.models:
        model = named(registry.models, name, "edge_fit.models", where)
        training = _training(spec.training, spec.overrides, where, name)
        for procedure in spec.procedures:
            if procedure == "federated":
                federated = _edge_fit_federated(spec, spec.strategy, spec.federation, registry, where)
                table += [
                    RunSpec(
                        label=f"edge-fit-{federated['strategy'].name}-{name}-s{s}".replace(
                            "edge-fit-edge-fit", "edge-fit"
                        ),
                        seed=s,
                        model=model,
                        training=training,
                        score_rounds=spec.score_rounds,
                        score_clients=spec.score_clients,
                        **federated,
                        **common,
                    )
                    for s in spec.seeds
                ]
                continue
            # Zero-shot trains nothing, so a second seed would repeat the first.
            table += [
                RunSpec(
                    label=f"edge-fit-{procedure}-{name}-s{s}",
                    procedure=procedure,
                    seed=s,
                    tier=model.tier,
                    model=model,
                    training=training.model_copy(update={"epochs": spec.epochs_alone}),
                    **common,
                )
                for s in (spec.seeds[:1] if procedure == "zero-shot" else spec.seeds)
            ]
        table += _variants(spec, model, common, registry, where)
    return table


def _variants(
    spec: EdgeFitSpec, model: ModelSpec, common: Mapping[str, Any], registry: Registry, where: object
) -> list[RunSpec]:
    """Return the federated runs of one model that differ from the study's own in what each variant says."""
    table = []
    for name, variant in spec.variants.items():
        key = f"{where}: edge_fit.variants.{name}"
        keys = overlay(spec.federation.model_dump(mode="json"), variant.federation)
        federation = validate(FederationSpec, keys, f"{key}.federation")
        overrides = {**spec.overrides, name: variant.training}
        federated = _edge_fit_federated(spec, variant.strategy or spec.strategy, federation, registry, key)
        table += [
            RunSpec(
                label=f"edge-fit-{name}-{model.name}-s{s}",
                seed=s,
                model=model,
                training=_training(spec.training, overrides, where, model.name, name),
                variant=name,
                score_rounds=spec.score_rounds,
                **federated,
                **common,
            )
            for s in spec.variant_seeds
        ]
    return table


def _edge_fit_federated(
    spec: EdgeFitSpec, strategy: str, federation: FederationSpec, registry: Registry, where: object
) -> dict[str, Any]:
    """Return what a federated run has and the other procedures have not.

    Raises:
        FedbenchError: a name is not registered, or the clients of the tiers are not as many as there are.
    """
    clients, counted = spec.instructions.clients.count, sum(federation.tiers.values())
    if (federation.tiers and counted != clients) or federation.clients_per_round > clients:
        what = f"tiers counts {counted}" if counted else f"clients_per_round is {federation.clients_per_round}"
        raise FedbenchError(f"key 'federation': {what}, clients.count is {clients}", where=where)
    chosen = named(registry.strategies, strategy, "strategy", where)
    used: list[Tier] = [*federation.tiers, *([GATEWAY] if chosen.kind == "hierarchical" else [])]
    return {
        "procedure": "federated",
        "tier": federation.client_tier,
        "strategy": chosen,
        "federation": federation,
        "client_tier": named(registry.tiers, federation.client_tier, "federation.client_tier", where),
        "tiers": {name: named(registry.tiers, name, "federation.tiers", where) for name in used},
    }


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
