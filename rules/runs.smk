# Runs. Takes a data set, its partition and a snapshot; leaves five files a run. One job a run, whatever its procedure.
# A run that fails on its own account (out of memory, divergence) leaves the same five files, with the reason.


rule run:
    input:
        unpack(dataset),
        snapshot=snapshot,
        teacher=teacher,
    output:
        **{Path(name).stem: f"{RESULTS}/runs/{{run}}/{name}" for name in RUN_FILES},
    log:
        f"{RESULTS}/logs/runs/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}.tsv"
    wildcard_constraints:
        run=RUN,
    # What trains on all data, or trains a language model, takes longest: started first, it is not alone at the end.
    priority: lambda wildcards: int(RUNS[wildcards.run].study == "edge-fit" or not RUNS[wildcards.run].strategy)
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **places(run_tier),
        **demands(),
        tier=run_tier,
    params:
        spec=lambda wildcards: RUNS[wildcards.run].model_dump_json(),
        checkpoints=f"{RESULTS}/checkpoints",
        code=run_code,
    message:
        "Run: {wildcards.run}"
    script:
        "../workflow/scripts/run.py"
