localrules:
    data,


# Downloads where there is a network, verifies and decodes, once, before jobs need it. What is
# decoded lies in the data folder's `cache` and is not declared as output: jobs of other sweeps may
# be reading it. The command does nothing where it is whole.
rule data:
    output:
        f"{DATA}/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}.log",
    conda:
        "../../envs/raat.yaml"
    shell:
        "python -m raat_core data {wildcards.dataset:q} --summary {output:q} >> {log:q} 2>&1"
