# Provenance. Takes the table of runs, the logs of the jobs and the lock of the environment; leaves the resolved
# configuration and one manifest: command, commit, machines, versions, and what every run and job cost.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    provenance,


rule provenance:
    input:
        runs=SCORES[1],
        lock="envs/cpu.txt",
    output:
        manifest=report(
            f"{RESULTS}/manifest.json",
            category="5 Provenance",
            caption="../workflow/report/provenance.rst",
            labels={"file": "manifest"},
        ),
        resolved=report(
            f"{RESULTS}/config.resolved.yaml",
            category="4 Configuration",
            caption="../workflow/report/config.rst",
            labels={"file": "resolved configuration"},
        ),
    log:
        f"{RESULTS}/logs/provenance.log",
    conda:
        "../envs/cpu.yaml"
    params:
        experiment=EXPERIMENT.model_dump_json(),
        logs=f"{RESULTS}/logs",
        snapshots={f"models/{name}": f"{SNAPSHOTS}/logs/{name}.log" for name in MODELS},
        code=code_digest("manifest"),
    message:
        "Manifest: where the results come from and what they cost"
    script:
        "../workflow/scripts/provenance.py"
