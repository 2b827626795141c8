localrules:
    table,
    figure,
    classes,
    comparison,
    cells,


rule table:
    input:
        lambda wildcards: sources(wildcards.table),
    output:
        csv=report(
            f"{RESULTS}/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        markdown=f"{RESULTS}/{{table}}.md",
        latex=f"{RESULTS}/{{table}}.tex",
        cells=f"{RESULTS}/{{table}}.cells.csv",
    log:
        f"{RESULTS}/logs/aggregate/{{table}}.log",
    conda:
        "../../envs/raat.yaml"
    params:
        item=lambda wildcards: describe(PLAN, wildcards.table),
    script:
        "../scripts/build_item.py"


rule figure:
    input:
        lambda wildcards: sources(wildcards.figure),
    output:
        png=report(
            f"{RESULTS}/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        pdf=f"{RESULTS}/{{figure}}.pdf",
        csv=f"{RESULTS}/{{figure}}.csv",
    log:
        f"{RESULTS}/logs/aggregate/{{figure}}.log",
    conda:
        "../../envs/raat.yaml"
    params:
        item=lambda wildcards: describe(PLAN, wildcards.figure),
    script:
        "../scripts/build_item.py"


rule classes:
    input:
        lambda wildcards: sources(wildcards.classes),
    output:
        csv=f"{RESULTS}/{{classes}}.csv",
        confusion=f"{RESULTS}/{{classes}}.confusion.csv",
        markdown=f"{RESULTS}/{{classes}}.md",
        cells=f"{RESULTS}/{{classes}}.cells.csv",
        png=report(
            f"{RESULTS}/{{classes}}.png",
            caption="../report/classes.rst",
            category="Classes",
            labels={"figure": "{classes}"},
        ),
        pdf=f"{RESULTS}/{{classes}}.pdf",
    log:
        f"{RESULTS}/logs/aggregate/{{classes}}.log",
    conda:
        "../../envs/raat.yaml"
    params:
        item=lambda wildcards: describe(PLAN, wildcards.classes),
    script:
        "../scripts/build_item.py"


rule comparison:
    input:
        lambda wildcards: sources(wildcards.comparison),
    output:
        csv=f"{RESULTS}/{{comparison}}.csv",
        claims=f"{RESULTS}/{{comparison}}.claims.csv",
        markdown=f"{RESULTS}/{{comparison}}.md",
        html=report(
            f"{RESULTS}/{{comparison}}.html",
            caption="../report/comparison.rst",
            category="Against the paper",
            labels={"page": "{comparison}"},
        ),
    log:
        f"{RESULTS}/logs/aggregate/{{comparison}}.log",
    conda:
        "../../envs/raat.yaml"
    params:
        item=lambda wildcards: describe(PLAN, wildcards.comparison),
    script:
        "../scripts/build_item.py"


rule cells:
    input:
        attacked(PLAN.jobs.lists),
    output:
        csv=f"{RESULTS}/cells.csv",
    log:
        f"{RESULTS}/logs/aggregate/cells.log",
    conda:
        "../../envs/raat.yaml"
    params:
        item=describe_cells(PLAN),
    script:
        "../scripts/build_item.py"
