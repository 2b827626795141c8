# All attacks of a list run in one process, which loads torch and the model once. Records that are
# there already are kept: a longer list only adds to them.
rule attack:
    input:
        data=prepared,
        trained=lambda wildcards: ancient(trained(wildcards.cell)),
    output:
        attacked=f"{CELLS}/{{cell}}/attacked_{{attacks}}.json",
    log:
        f"{RESULTS}/logs/attack/{{cell}}_{{attacks}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{{cell}}_{{attacks}}.tsv"
    conda:
        "../../envs/raat.yaml"
    threads: 1
    resources:
        gpu=lambda wildcards: attack_resources(wildcards).gpu,
        mem_mb=lambda wildcards: attack_resources(wildcards).mem_mb,
        runtime=lambda wildcards: attack_resources(wildcards).runtime,
    params:
        attacks=attack_list,
        checkpoint=checkpoint,
        folder=f"{CELLS}/{{cell}}",
    shell:
        "python -m raat_core attack {params.folder:q} --attacks {params.attacks:q}"
        " --checkpoint {params.checkpoint} --threads {threads}"
        " --summary {output.attacked:q} >> {log:q} 2>&1"
