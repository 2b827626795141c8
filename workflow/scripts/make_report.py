"""Snakemake's report of everything that a config asks for, as one zip file."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

job = snakemake  # noqa: F821 (put here by Snakemake itself)
with TemporaryDirectory() as folder, Path(job.log[0]).open("w", encoding="utf-8") as log:
    config = Path(folder) / "config.json"
    config.write_text(json.dumps(job.params.config), encoding="utf-8")
    made = Path(folder) / "report.zip"
    command = [sys.executable, "-m", "snakemake", "--report", str(made), "--nolock"]
    command += ["--snakefile", job.params.snakefile, "--configfile", str(config)]
    done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"error: no report: see {job.log[0]}")
    Path(job.output[0]).write_bytes(made.read_bytes())
