# Dolly. Takes instruction records (made, from a mirror, or downloaded); leaves dataset.parquet, clients-*.parquet and
# the ledgers that account for every record on the way.

UNUSED_TEACHER = [] if TEACHER else ["instructions.model_teacher"]  # an edit of it does not rerun the templates


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    dolly_fetch,


rule dolly_fetch:
    input:
        originals(INSTRUCTIONS.source, "**/databricks-dolly-15k.jsonl") if INSTRUCTIONS else [],
    output:
        records=directory(f"{DOLLY}/records"),
        sources=f"{DOLLY}/sources.json",
    log:
        f"{RESULTS}/logs/dolly/fetch.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/fetch.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=keys(INSTRUCTIONS, "source") if INSTRUCTIONS else None,
        downloads=DOWNLOADS,
        checksums=CHECKSUMS,
        code=code_digest("instructions.fetch"),
    message:
        "Dolly: fetching the records"
    script:
        "../workflow/scripts/dolly_fetch.py"


rule dolly_filter:
    input:
        records=rules.dolly_fetch.output.records,
        sources=rules.dolly_fetch.output.sources,
    output:
        filtered=f"{DOLLY}/filtered.parquet",
        ledger=f"{DOLLY}/filter-ledger.json",
    log:
        f"{RESULTS}/logs/dolly/filter.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/filter.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=keys(INSTRUCTIONS, "source", "exclude", "keep") if INSTRUCTIONS else None,
        code=code_digest("instructions.filtering"),
    message:
        "Dolly: records about the Internet of Things"
    script:
        "../workflow/scripts/dolly_filter.py"


rule dolly_augment:
    input:
        filtered=rules.dolly_filter.output.filtered,
        teacher=snapshot_of(TEACHER),
    output:
        augmented=f"{DOLLY}/augmented.parquet",
        ledger=f"{DOLLY}/augment-ledger.json",
    log:
        f"{RESULTS}/logs/dolly/augment.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/augment.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **places(teaching_tier),
        tier=teaching_tier,
        mem_mb=teaching_memory,
        runtime=lambda wildcards, attempt: (1440 if TEACHER else 30) * attempt,
        gpu_count=lambda wildcards, attempt: int(teaching_tier(wildcards, attempt) != "local"),
    params:
        spec=keys(INSTRUCTIONS, "source", "self_instruct") if INSTRUCTIONS else None,
        seed=EXPERIMENT.seed,
        code=code_digest("instructions.self_instruct", without=["progress", *UNUSED_TEACHER]),
    message:
        "Dolly: Self-Instruct"
    script:
        "../workflow/scripts/dolly_augment.py"


rule dolly_dataset:
    input:
        augmented=rules.dolly_augment.output.augmented,
    output:
        dataset=f"{DOLLY}/dataset.parquet",
        ledger=f"{DOLLY}/split-ledger.json",
    log:
        f"{RESULTS}/logs/dolly/dataset.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/dataset.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=(keys(INSTRUCTIONS, "source", "test", "validation") if INSTRUCTIONS else None),
        seed=EXPERIMENT.seed,
        code=code_digest("instructions.dataset"),
    message:
        "Dolly: held-out test"
    script:
        "../workflow/scripts/dolly_dataset.py"


rule dolly_clients:
    input:
        dataset=rules.dolly_dataset.output.dataset,
    output:
        clients=f"{DOLLY}/clients-{{partition}}.parquet",
    log:
        f"{RESULTS}/logs/dolly/clients-{{partition}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/clients-{{partition}}.tsv"
    wildcard_constraints:
        partition="iid|dirichlet|device",
    conda:
        "../envs/cpu.yaml"
    params:
        spec=lambda wildcards: INSTRUCTIONS.clients.model_copy(update=dict(wildcards.items())).model_dump_json(),
        seed=EXPERIMENT.seed,
        by="category",
        device=None,
        code=code_digest("partition"),
    message:
        "Dolly: records to clients ({wildcards.partition})"
    script:
        "../workflow/scripts/clients.py"


rule dolly_leakage:
    input:
        dataset=rules.dolly_dataset.output.dataset,
    output:
        leakage=f"{DOLLY}/leakage.csv",
    log:
        f"{RESULTS}/logs/dolly/leakage.log",
    benchmark:
        f"{RESULTS}/benchmarks/dolly/leakage.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_digest("instructions.leakage"),
    message:
        "Dolly: how near the test records are to the training records"
    script:
        "../workflow/scripts/dolly_leakage.py"
