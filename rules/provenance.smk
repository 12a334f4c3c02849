# Provenance. Takes the manifests of the runs and the lock of the environment; leaves the resolved configuration and one
# manifest: command, commit, machine, versions, and what every run and job cost.


rule provenance:
    input:
        scores=SCORES,
        manifests=run_files("manifest.json"),
        usages=run_files("usage.json"),
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
        benchmarks=f"{RESULTS}/benchmarks",
        code=code_digest("manifest"),
    message:
        "Manifest: where the results come from and what they cost"
    script:
        "../workflow/scripts/provenance.py"
