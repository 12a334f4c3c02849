# IoT-23. Takes Zeek connection logs (made, from a mirror, or downloaded); leaves dataset.parquet, clients-*.parquet and
# the ledgers that account for every row on the way.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    iot23_fetch,


rule iot23_fetch:
    input:
        originals(FLOWS.source, "**/*conn.log.labeled*", "**/conn.log.calibration*") if FLOWS else [],
    output:
        logs=directory(f"{IOT23}/logs"),
        sources=f"{IOT23}/sources.json",
    log:
        f"{RESULTS}/logs/iot23/fetch.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/fetch.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=keys(FLOWS, "source") if FLOWS else None,
        addresses=json.dumps(ADDRESSES),
        downloads=DOWNLOADS,
        checksums=CHECKSUMS,
        code=code_digest("flows.fetch"),
    message:
        "IoT-23: fetching the logs"
    script:
        "../workflow/scripts/iot23_fetch.py"


rule iot23_clean:
    input:
        logs=rules.iot23_fetch.output.logs,
        sources=rules.iot23_fetch.output.sources,
    output:
        flows=f"{IOT23}/flows.parquet",
        quarantine=f"{IOT23}/quarantine.parquet",
        ledger=f"{IOT23}/clean-ledger.json",
    log:
        f"{RESULTS}/logs/iot23/clean.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/clean.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        max_quarantined=FLOWS.max_quarantined if FLOWS else None,
        code=code_digest("flows.clean"),
    message:
        "IoT-23: logs to typed flows"
    script:
        "../workflow/scripts/iot23_clean.py"


rule iot23_captures:
    input:
        flows=rules.iot23_clean.output.flows,
        quarantine=rules.iot23_clean.output.quarantine,
        sources=rules.iot23_fetch.output.sources,
    output:
        captures=f"{IOT23}/captures.csv",
    log:
        f"{RESULTS}/logs/iot23/captures.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/captures.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        captures=json.dumps({name: capture.model_dump() for name, capture in CAPTURES.items()}),
        code=code_digest("flows.captures"),
    message:
        "IoT-23: what was parsed beside what is published"
    script:
        "../workflow/scripts/iot23_captures.py"


rule iot23_sample:
    input:
        flows=rules.iot23_clean.output.flows,
    output:
        sample=f"{IOT23}/sample.parquet",
        ledger=f"{IOT23}/sample-ledger.json",
    log:
        f"{RESULTS}/logs/iot23/sample.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/sample.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=(keys(FLOWS, "source", "missing", "sample", "sample_floor") if FLOWS else None),
        seed=EXPERIMENT.seed,
        code=code_digest("flows.sample"),
    message:
        "IoT-23: curated sample"
    script:
        "../workflow/scripts/iot23_sample.py"


rule iot23_dataset:
    input:
        sample=rules.iot23_sample.output.sample,
    output:
        dataset=f"{IOT23}/dataset.parquet",
        ledger=f"{IOT23}/split-ledger.json",
    log:
        f"{RESULTS}/logs/iot23/dataset.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/dataset.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=keys(FLOWS, "source", "label", "split") if FLOWS else None,
        seed=EXPERIMENT.seed,
        code=code_digest("flows.dataset"),
    message:
        "IoT-23: labels, text and split"
    script:
        "../workflow/scripts/iot23_dataset.py"


rule iot23_clients:
    input:
        dataset=rules.iot23_dataset.output.dataset,
    output:
        clients=f"{IOT23}/clients-{{partition}}.parquet",
    log:
        f"{RESULTS}/logs/iot23/clients-{{partition}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/clients-{{partition}}.tsv"
    wildcard_constraints:
        partition="iid|dirichlet|device",
    conda:
        "../envs/cpu.yaml"
    params:
        spec=lambda wildcards: FLOWS.clients.model_copy(update=dict(wildcards.items())).model_dump_json(),
        seed=EXPERIMENT.seed,
        by="label",
        device="device",
        code=code_digest("partition"),
    message:
        "IoT-23: rows to clients ({wildcards.partition})"
    script:
        "../workflow/scripts/clients.py"


rule iot23_leakage:
    input:
        sample=rules.iot23_sample.output.sample,
    output:
        leakage=f"{IOT23}/leakage.csv",
    log:
        f"{RESULTS}/logs/iot23/leakage.log",
    benchmark:
        f"{RESULTS}/benchmarks/iot23/leakage.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        spec=keys(FLOWS, "source", "label", "split") if FLOWS else None,
        seed=EXPERIMENT.seed,
        code=code_digest("flows.leakage"),
    message:
        "IoT-23: how far memory alone would get"
    script:
        "../workflow/scripts/iot23_leakage.py"
