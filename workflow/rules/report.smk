localrules:
    report,


# Snakemake makes a report in a process of its own, from what the jobs have left.
rule report:
    input:
        everything(),
    output:
        f"{RESULTS}/report.zip",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../envs/raat.yaml"
    params:
        config=config,
        snakefile=workflow.main_snakefile,
    script:
        "../scripts/make_report.py"
