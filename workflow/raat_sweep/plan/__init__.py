"""From a config to cells, the attacks on each, and the points of every table and figure."""
