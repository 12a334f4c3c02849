# Models. Takes an entry of config/models.yaml; leaves a snapshot: configuration, safetensors, tokenizer, source.json.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    snapshot,


rule snapshot:
    output:
        folder=directory(f"{SNAPSHOTS}/{{model}}"),
    log:
        f"{SNAPSHOTS}/logs/{{model}}.log",
    benchmark:
        f"{SNAPSHOTS}/benchmarks/{{model}}.tsv"
    wildcard_constraints:
        model=any_of(MODELS),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        spec=lambda wildcards: MODELS[wildcards.model].model_dump_json(),
        code=snapshot_code,
    message:
        "Model snapshot: {wildcards.model}"
    script:
        "../workflow/scripts/snapshot.py"
