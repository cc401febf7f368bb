"""Generated workloads with fixed seeds, one module per noun; real data is in `data/`."""
