# Compare. Takes scores and the values that the papers print; leaves each of their tables again with ours beside theirs
# and a verdict, and an audit of each paper: its printed numbers against each other, which needs no run of ours.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    verdict,
    audit,


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


rule audit:
    input:
        published=lambda wildcards: f"config/published/{captions.studies(wildcards.audit)[0]}.csv",
        claims="config/published/claims.csv",
    output:
        f"{RESULTS}/tables/{{audit}}.md",
        f"{RESULTS}/tables/{{audit}}.csv",
        f"{RESULTS}/tables/{{audit}}.tex",
        report(
            f"{RESULTS}/tables/{{audit}}.html",
            category="2 Tables",
            subcategory="The papers themselves",
            caption="../workflow/report/audit.rst",
            labels={"table": "{audit}"},
        ),
    log:
        f"{RESULTS}/logs/tables/{{audit}}.log",
    wildcard_constraints:
        audit=any_of(name for name in TABLES if name.endswith("-audit")),
    conda:
        "../envs/cpu.yaml"
    params:
        study=lambda wildcards: captions.studies(wildcards.audit)[0],
        caption=lambda wildcards: captions.table(EXPERIMENT, wildcards.audit),
        code=code_digest("reporting.audit", "reporting.writing"),
    message:
        "Audit: {wildcards.audit}"
    script:
        "../workflow/scripts/audit.py"
