# All attacks of a list run in one process, which loads torch and the model once. Records that are
# there already are kept: a longer list only adds to them.
rule attack:
    input:
        trained=ancient(f"{CELLS}/{{cell}}/trained.json"),
    output:
        attacked=f"{CELLS}/{{cell}}/attacked_{{attacks}}.json",
    params:
        attacks=attack_list,
        checkpoint=lambda wildcards: wildcards.attacks.split("_")[0],
        folder=f"{CELLS}/{{cell}}",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    log:
        f"{RESULTS}/logs/attack/{{cell}}_{{attacks}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{{cell}}_{{attacks}}.tsv"
    conda:
        "../../envs/raat.yaml"
    shell:
        "{PYTHON} -m raat_core attack {params.folder:q} --attacks {params.attacks:q}"
        " --checkpoint {params.checkpoint} --threads {threads}"
        " --summary {output.attacked:q} {PLUGINS} > {log:q} 2>&1"
