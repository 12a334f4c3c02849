# Scores. Takes the files of each run; leaves one tidy table of scores, one of runs, and their histories in one file.
# Nothing here trains.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    collate,


rule score:
    input:
        predictions=f"{RESULTS}/runs/{{run}}/predictions.parquet",
        usage=f"{RESULTS}/runs/{{run}}/usage.json",
        manifest=f"{RESULTS}/runs/{{run}}/manifest.json",
    output:
        scores=f"{RESULTS}/scores/{{run}}.parquet",
    log:
        f"{RESULTS}/logs/scores/{{run}}.log",
    wildcard_constraints:
        run=RUN,
    conda:
        "../envs/cpu.yaml"
    resources:
        tier="local",
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    params:
        bootstrap=EXPERIMENT.report.bootstrap,
        code=code_digest("evaluation.score"),
    message:
        "Score: {wildcards.run}"
    script:
        "../workflow/scripts/score.py"


rule collate:
    input:
        scores=expand(f"{RESULTS}/scores/{{run}}.parquet", run=SHOWN),
        manifests=run_files("manifest.json"),
        usages=run_files("usage.json"),
        histories=run_files("history.parquet"),
    output:
        scores=f"{RESULTS}/scores/scores.parquet",
        runs=f"{RESULTS}/scores/runs.parquet",
        histories=HISTORIES,
    log:
        f"{RESULTS}/logs/scores.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        tier="local",
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        missing=[RUNS[run].model_dump_json() for run in MISSING],
        logs=f"{RESULTS}/logs/runs",
        code=code_digest("evaluation.score", "evaluation.run_table", "evaluation.histories"),
    message:
        "Tables of scores, runs, histories"
    script:
        "../workflow/scripts/collate.py"
