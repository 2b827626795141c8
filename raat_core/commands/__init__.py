"""The command line: reading arguments, printing what was done."""
