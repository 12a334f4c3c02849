# Compare. Takes scores and the values that the papers print; leaves each of their tables again with ours beside theirs
# and a verdict.


rule verdict:
    input:
        scores=SCORES,
        data=lambda wildcards: datasets(captions.studies(wildcards.table)),
        published=lambda wildcards: f"config/published/{captions.studies(wildcards.table)[0]}.csv",
    output:
        table_files(f"{RESULTS}/tables/{{table}}-verdict"),
    log:
        f"{RESULTS}/logs/tables/{{table}}-verdict.log",
    wildcard_constraints:
        table=any_of(name.removesuffix("-verdict") for name in TABLES if name.endswith("-verdict")),
    conda:
        "../envs/cpu.yaml"
    params:
        experiment=EXPERIMENT.model_dump_json(),
        table=lambda wildcards: f"{wildcards.table}-verdict",
        caption=lambda wildcards: captions.table(EXPERIMENT, f"{wildcards.table}-verdict"),
        code=TABLE_CODE,
    message:
        "Verdicts: {wildcards.table}"
    script:
        "../workflow/scripts/table.py"
