"""From captures and mosaics to registered pairs, on this machine or on a cluster."""
