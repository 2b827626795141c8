# What a cell's training leaves is not declared as output, only the file that says that it is done:
# Snakemake deletes the declared outputs of a job before it runs it again, and neither weights nor
# the state to resume from may be lost to that. The command goes on where it stopped, and does
# nothing in the folder of a finished cell.
rule train:
    input:
        ingredients,
    output:
        trained=f"{CELLS}/{{cell}}/trained.json",
    log:
        f"{RESULTS}/logs/train/{{cell}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{cell}}.tsv"
    conda:
        "../../envs/raat.yaml"
    threads: 1
    resources:
        gpu=lambda wildcards: training_resources(wildcards).gpu,
        mem_mb=lambda wildcards: training_resources(wildcards).mem_mb,
        runtime=lambda wildcards: training_resources(wildcards).runtime,
    params:
        spec=cell_spec,
        folder=f"{CELLS}/{{cell}}",
    shell:
        "python -m raat_core train {params.spec:q} --folder {params.folder:q}"
        " --threads {threads} --summary {output.trained:q} >> {log:q} 2>&1"


# Attacks with `job: training` in the config: for small cells, whose attacks take less time than a
# process takes to start.
rule train_and_attack:
    input:
        ingredients,
    output:
        attacked=f"{CELLS}/{{cell}}/run_{{attacks}}.json",
    log:
        f"{RESULTS}/logs/train/{{cell}}_{{attacks}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{cell}}_{{attacks}}.tsv"
    priority: 1  # the longest first: they leave no core idle at the end
    conda:
        "../../envs/raat.yaml"
    threads: 1
    resources:
        gpu=lambda wildcards: both_resources(wildcards).gpu,
        mem_mb=lambda wildcards: both_resources(wildcards).mem_mb,
        runtime=lambda wildcards: both_resources(wildcards).runtime,
    params:
        spec=cell_spec,
        attacks=attack_list,
        checkpoint=checkpoint,
        folder=f"{CELLS}/{{cell}}",
    shell:
        "python -m raat_core run {params.spec:q} --folder {params.folder:q}"
        " --attacks {params.attacks:q} --checkpoint {params.checkpoint} --threads {threads}"
        " --summary {output.attacked:q} >> {log:q} 2>&1"
