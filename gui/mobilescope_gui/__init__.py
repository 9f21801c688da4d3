"""Windows on Qt: they show frozen snapshots and ask for things; the work is done elsewhere."""
