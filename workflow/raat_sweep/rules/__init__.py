"""What Snakemake's rules (workflow/rules) call."""
