# Report. Takes scores, histories and ledgers; leaves tables, figures and the page that gathers them. All of it is marked
# for `snakemake --report`, which binds it into one file.


rule table:
    input:
        scores=SCORES,
        data=lambda wildcards: datasets(captions.studies(wildcards.table)),
        accounts=lambda wildcards: data_accounts(captions.studies(wildcards.table)),
    output:
        table_files(f"{RESULTS}/tables/{{table}}"),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table=any_of(name for name in TABLES if not name.endswith("-verdict")),
    conda:
        "../envs/cpu.yaml"
    params:
        experiment=EXPERIMENT.model_dump_json(),
        table="{table}",
        caption=lambda wildcards: captions.table(EXPERIMENT, wildcards.table),
        code=TABLE_CODE,
    message:
        "Table: {wildcards.table}"
    script:
        "../workflow/scripts/table.py"


rule figure:
    input:
        scores=SCORES,
        histories=run_files("history.parquet"),
        published=lambda wildcards: [f"config/published/{study}.csv" for study in captions.studies(wildcards.figure)],
    output:
        svg=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            category="3 Figures",
            caption="../workflow/report/figure.rst",
            labels={"figure": "{figure}"},
        ),
        png=f"{RESULTS}/figures/{{figure}}.png",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=any_of(FIGURES),
    conda:
        "../envs/cpu.yaml"
    params:
        experiment=EXPERIMENT.model_dump_json(),
        caption=lambda wildcards: captions.figure(EXPERIMENT, wildcards.figure),
        code=code_digest("reporting.build", without=["reporting.comparisons", "reporting.ledgers", "reporting.page"]),
    message:
        "Figure: {wildcards.figure}"
    script:
        "../workflow/scripts/figure.py"


rule summary:
    input:
        tables=tables(["html"]),
        figures=figures(),
        manifest=f"{RESULTS}/manifest.json",
        resolved=f"{RESULTS}/config.resolved.yaml",
        template="workflow/fedbench/reporting/templates/summary.html.j2",
    output:
        page=report(
            f"{RESULTS}/summary.html",
            category="1 Summary",
            caption="../workflow/report/summary.rst",
            labels={"page": "summary"},
        ),
    log:
        f"{RESULTS}/logs/summary.log",
    conda:
        "../envs/cpu.yaml"
    params:
        experiment=EXPERIMENT.model_dump_json(),
        code=code_digest("reporting.build"),
    message:
        "Summary page"
    script:
        "../workflow/scripts/summary.py"
