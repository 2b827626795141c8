# Only trained.json is declared: Snakemake deletes the declared outputs of a job before it runs it
# again, and neither weights nor the state to resume from may be lost to that. The command goes on
# where it stopped, and does nothing in the folder of a finished cell.
rule train:
    output:
        trained=f"{CELLS}/{{cell}}/trained.json",
    params:
        spec=cell_spec,
        folder=f"{CELLS}/{{cell}}",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    log:
        f"{RESULTS}/logs/train/{{cell}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{cell}}.tsv"
    conda:
        "../../envs/raat.yaml"
    shell:
        "{PYTHON} -m raat_core train {params.spec:q} --folder {params.folder:q}"
        " --threads {threads} --summary {output.trained:q} {PLUGINS} > {log:q} 2>&1"
