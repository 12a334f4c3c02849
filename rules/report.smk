# Report. Takes scores, histories and ledgers; leaves tables, figures and the page that gathers them. All of it is marked
# for `snakemake --report`, which binds it into one file. On request: the loss curves of any run, and TensorBoard's files.


# Runs where the workflow was started: the nodes of a cluster often have no network, and a job there costs more than this.
localrules:
    table,
    figure,
    summary,
    memory,


rule table:
    input:
        scores=SCORES,
        data=lambda wildcards: datasets(captions.studies(wildcards.table)),
        accounts=lambda wildcards: data_accounts(captions.studies(wildcards.table)),
        histories=lambda wildcards: (
            [HISTORIES] if wildcards.table.endswith(("-budget", "-variants", "-groups")) else []
        ),
        predictions=lambda wildcards: (
            run_files("predictions.parquet") if wildcards.table.endswith(("-gains", "-variants", "-groups")) else []
        ),
    output:
        table_files(f"{RESULTS}/tables/{{table}}"),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table=any_of(name for name in TABLES if not name.endswith(("-verdict", "-audit", "-memory"))),
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


rule memory:
    input:
        models=f"{CONFIG}/models.yaml",
        tiers=f"{CONFIG}/tiers.yaml",
        measured=[path for path in ("results/reference/vram.csv",) if Path(path).is_file()],
    output:
        table_files(f"{RESULTS}/tables/{{table}}"),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table=any_of(name for name in TABLES if name.endswith("-memory")),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1500,
    params:
        experiment=EXPERIMENT.model_dump_json(),
        table="{table}",
        caption=lambda wildcards: captions.table(EXPERIMENT, wildcards.table),
        code=code_digest("reporting.memory_table", "reporting.writing", without=["federation"]),
    message:
        "Table: {wildcards.table}"
    script:
        "../workflow/scripts/table.py"


rule figure:
    input:
        scores=SCORES,
        histories=lambda wildcards: [] if wildcards.figure in contents.FROM_SCORES else [HISTORIES],
        published=lambda wildcards: ["config/published/edge-fit.csv"] if wildcards.figure == "edge-fit-bars" else [],
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
        code=code_digest(
            "reporting.build",
            without=[
                f"reporting.{name}"
                for name in ("audit", "budget", "captions", "comparisons", "ledgers", "memory_table", "page", "tables")
            ],
        ),
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
        code=code_digest("reporting.build", without=["reporting.memory_table"]),
    message:
        "Summary page"
    script:
        "../workflow/scripts/summary.py"


rule loss_curve:
    input:
        history=f"{RESULTS}/runs/{{run}}/history.parquet",
        manifest=f"{RESULTS}/runs/{{run}}/manifest.json",
    output:
        svg=f"{RESULTS}/figures/runs/{{run}}.svg",
        png=f"{RESULTS}/figures/runs/{{run}}.png",
    log:
        f"{RESULTS}/logs/figures/runs/{{run}}.log",
    wildcard_constraints:
        run=RUN,
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_digest("reporting.loss_curves", "reporting.drawing"),
    message:
        "Loss curves: {wildcards.run}"
    script:
        "../workflow/scripts/loss_curve.py"


rule monitor:
    input:
        histories=run_files("history.parquet"),
        manifests=run_files("manifest.json"),
    output:
        directory(f"{RESULTS}/tensorboard"),
    log:
        f"{RESULTS}/logs/tensorboard.log",
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_digest("reporting.monitor"),
    message:
        "TensorBoard's files of every run"
    script:
        "../workflow/scripts/monitor.py"
