localrules:
    join,


# All attacks of a list run in one process, which loads torch and the model once. Records that are
# there already are kept: a longer list only adds to them.
rule attack:
    input:
        data=prepared,
        trained=lambda wildcards: ancient(trained(wildcards.cell)),
        sources=models_of_others,
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


# Attack lists with `shards` in the config: each job attacks a share of the batches and leaves parts
# of the records in the cell's folder, which are not declared as output for the reason given for
# trainings. What is covered by parts is not attacked again, by other numbers of shards neither.
rule attack_shard:
    input:
        data=prepared,
        trained=lambda wildcards: ancient(trained(wildcards.cell)),
        sources=models_of_others,
    output:
        done=temp(f"{CELLS}/{{cell}}/shards/{{attacks}}_{{shard}}of{{shards}}.json"),
    log:
        f"{RESULTS}/logs/attack/{{cell}}_{{attacks}}_{{shard}}of{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{{cell}}_{{attacks}}_{{shard}}of{{shards}}.tsv"
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
        " --checkpoint {params.checkpoint} --shard {wildcards.shard}/{wildcards.shards}"
        " --threads {threads} --summary {output.done:q} >> {log:q} 2>&1"


# Where parts are missing although their shards were done, the next run looks after all of them.
rule join:
    input:
        shards=shards_of,
    output:
        attacked=f"{CELLS}/{{cell}}/joined_{{attacks}}.json",
    log:
        f"{RESULTS}/logs/attack/{{cell}}_{{attacks}}.log",
    conda:
        "../../envs/raat.yaml"
    resources:
        latency=LATENCY,  # no parameter: another one is no reason to join again
    params:
        attacks=attack_list,
        checkpoint=checkpoint,
        folder=f"{CELLS}/{{cell}}",
        shards=lambda wildcards, input: len(input.shards),
    shell:
        "python -m raat_core join {params.folder:q} --attacks {params.attacks:q}"
        " --checkpoint {params.checkpoint} --shards {params.shards} --wait {resources.latency}"
        " --summary {output.attacked:q} >> {log:q} 2>&1"
        " || {{ code=$?; rm -f {input.shards:q}; exit $code; }}"
