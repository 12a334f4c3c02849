"""fedbench: federated fine-tuning of language models on IoT data, from raw logs to the papers' tables.

The door. Which runs there are is said in config/, how each step works in workflow/fedbench; the rules put them in order.
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"


if not PARTIAL:  # else their files are taken as they are

    include: "rules/iot23.smk"
    include: "rules/dolly.smk"
    include: "rules/models.smk"
    include: "rules/runs.smk"


include: "rules/scores.smk"
include: "rules/compare.smk"
include: "rules/report.smk"
include: "rules/provenance.smk"


rule all:
    default_target: True
    input:
        tables(),
        figures(),
        summary(),
        provenance(),


rule data:
    input:
        datasets(),
        data_accounts(),


rule models:
    input:
        snapshots(),


rule runs:
    input:
        run_files(),


rule scores:
    input:
        SCORES,


rule tables:
    input:
        tables(),


rule figures:
    input:
        figures(),


rule report:
    input:
        summary(),


# An edit of a rule's script reruns the rule; a comment in it, or the new time stamp that a clone gives it, does not.
for each in workflow.rules:
    if each.script:
        each.set_params(script=script_digest(HOME / "rules" / each.script))
