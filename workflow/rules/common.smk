import json
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(str(workflow.current_basedir)).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow")]

from raat_core.errors import UserError
from raat_sweep.config.reading import check_config_files, read_config
from raat_sweep.cost.resources import (
    resources_of_attacks,
    resources_of_both,
    resources_of_training,
)
from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_runs import read_throughput
from raat_sweep.plan.plan import Plan
from raat_sweep.results.markers import shard_names
from raat_sweep.rules.build import build_with_gaps
from raat_sweep.rules.description import describe, describe_cells, product_names
from raat_sweep.rules.other_code import notes_on_other_code
from raat_sweep.rules.workspace import (
    hold_results,
    prepare_environment,
    require_folder,
    require_writable,
    storage_trouble,
)

try:
    if workflow.is_main_process:
        check_config_files(map(Path, workflow.configfiles))
    PLAN = Plan(
        read_config(config, "config"), "run" if workflow.is_main_process else "job"
    )
    require_writable(Path(PLAN.config.results))
    require_folder("data", PLAN.data)
    if workflow.is_main_process:
        for note in (*PLAN.notes, *notes_on_other_code(PLAN)):
            print(note, file=sys.stderr)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = PLAN.config.results
CELLS = f"{RESULTS}/cells"
DATA = PLAN.data
# Seconds that files of other machines may take to show up here.
LATENCY = max(1, getattr(workflow.execution_settings, "latency_wait", 5))
prepare_environment(ROOT, PLAN.config.plugins, DATA)


wildcard_constraints:
    cell="[A-Za-z0-9._+-]+",
    attacks="(best|last)_[0-9a-f]+",
    shard="[1-9][0-9]*",
    shards="[1-9][0-9]*",
    dataset="|".join(PLAN.prepared) or "(?!)",
    table="|".join(PLAN.items_of("table")) or "(?!)",
    figure="|".join(PLAN.items_of("figure")) or "(?!)",
    classes="|".join(PLAN.items_of("classes")) or "(?!)",
    comparison="|".join(PLAN.items_of("comparison")) or "(?!)",


def products(name):
    """The files that an item of the config consists of."""
    return [f"{RESULTS}/{product}" for product in product_names(PLAN, name)]


def everything():
    """All files that the config asks for, but for the report of them."""
    items = [product for name in PLAN.config.items for product in products(name)]
    return [*items, f"{RESULTS}/cells.csv"]


def trained(cell):
    """The file that says that a cell is trained."""
    return f"{CELLS}/{cell}/{PLAN.jobs.training_summary_name(cell)}"


def attacked(pairs):
    """The files that say that attack lists are done: pairs of cell and list."""
    return [
        f"{CELLS}/{cell}/{PLAN.jobs.summary_name(cell, attacks)}"
        for cell, attacks in pairs
    ]


def sources(name):
    """What an item is made from."""
    return attacked(PLAN.jobs_of(name)) + [
        trained(cell) for cell in PLAN.items[name].curves
    ]


def prepared(wildcards):
    """The file that says that a cell's data set is decoded, if it has to be."""
    dataset = PLAN.cells[wildcards.cell].dataset
    return ancient([f"{DATA}/{dataset}.json"]) if dataset in PLAN.prepared else []


def ingredients(wildcards):
    """What a cell's training needs: decoded data sets, and trained cells."""
    cell = PLAN.cells[wildcards.cell]
    data = [f"{DATA}/{name}.json" for name in cell.data_sets if name in PLAN.prepared]
    helpers = [trained(need.cell.name) for need in cell.needs.values()]
    return ancient([*data, *dict.fromkeys(helpers)])


def models_of_others(wildcards):
    """The files that say that cells are trained whose models an attack list uses."""
    cells = PLAN.jobs.sources(wildcards.cell, wildcards.attacks)
    return ancient([trained(cell) for cell in cells])


def cell_spec(wildcards):
    """A cell's spec as JSON on one line; of given weights, also where they are."""
    spec = json.dumps(PLAN.cells[wildcards.cell].to_json(), sort_keys=True)
    weights = PLAN.weights.get(wildcards.cell)
    return spec if weights is None else [spec, "--weights", str(weights)]


def chosen(wildcards):
    """The attack list of one job."""
    return PLAN.jobs.lists[wildcards.cell, wildcards.attacks]


def attack_list(wildcards):
    """The attacks of one job as JSON on one line."""
    return json.dumps(chosen(wildcards).to_json()["attacks"], sort_keys=True)


def checkpoint(wildcards):
    """Which weights an attack list is for."""
    return chosen(wildcards).checkpoint


@cache
def throughput():
    """How fast hardware was in this results folder; looked up once, and not again in every job."""
    if not workflow.is_main_process:
        return Throughput()
    return read_throughput(Path(RESULTS), PLAN.cells, most=100)


@cache
def asked_for(resources, cell, *attacks, **more):
    """What a job asks for; Snakemake asks for each resource by itself."""
    lists = [PLAN.jobs.lists[cell, name].attacks for name in attacks]
    return resources(PLAN.cells[cell], *lists, throughput=throughput(), **more)


def bytes_of_weights(cell):
    """The size of the file of a cell's given weights; 0 where it is trained."""
    weights = PLAN.weights.get(cell)
    return weights.stat().st_size if weights and weights.is_file() else 0


def training_resources(wildcards):
    """What the training of a cell asks for."""
    weights = bytes_of_weights(wildcards.cell)
    return asked_for(resources_of_training, wildcards.cell, weights=weights)


def attack_resources(wildcards):
    """What the attacks of a list ask for, or one of their shards."""
    shards = int(wildcards.get("shards", 1))
    return asked_for(
        resources_of_attacks, wildcards.cell, wildcards.attacks, shards=shards
    )


def both_resources(wildcards):
    """What training and attacking in one job ask for."""
    weights = bytes_of_weights(wildcards.cell)
    return asked_for(
        resources_of_both, wildcards.cell, wildcards.attacks, weights=weights
    )


def shards_of(wildcards):
    """The files that say that the shards of an attack list are done."""
    shards = PLAN.jobs.shards[wildcards.cell, wildcards.attacks]
    names = shard_names(wildcards.attacks, shards)
    return [f"{CELLS}/{wildcards.cell}/{name}" for name in names]


def unfinished_items():
    """Jobs that make items of the config, and that were asked for and not made, by name."""
    return {
        str(job.wildcards[0]): job
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in ("table", "figure", "classes", "comparison")
    }


onstart:
    try:
        hold_results(Path(RESULTS))
    except UserError as error:
        raise WorkflowError(str(error)) from None


onerror:
    if trouble := storage_trouble(Path(RESULTS)):
        print(f"error: {trouble}")
    else:
        unfinished = unfinished_items()
        build_with_gaps(PLAN, list(unfinished))
        for job in unfinished.values():
            # Whatever else the next run finds to do, it makes these again.
            workflow.persistence.started(job)
