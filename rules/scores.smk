# Scores. Takes the files of each run; leaves one tidy table of scores and one table of runs. Nothing here trains.


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
        run=any_of(RUNS),
    conda:
        "../envs/cpu.yaml"
    params:
        bootstrap=EXPERIMENT.report.bootstrap,
        code=code_digest("evaluation.score"),
    message:
        "Score: {wildcards.run}"
    script:
        "../workflow/scripts/score.py"


rule collate:
    input:
        scores=expand(f"{RESULTS}/scores/{{run}}.parquet", run=RUNS),
        manifests=run_files("manifest.json"),
        usages=run_files("usage.json"),
    output:
        scores=f"{RESULTS}/scores/scores.parquet",
        runs=f"{RESULTS}/scores/runs.parquet",
    log:
        f"{RESULTS}/logs/scores.log",
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_digest("evaluation.score", "evaluation.run_table"),
    message:
        "One table of scores, one of runs"
    script:
        "../workflow/scripts/collate.py"
