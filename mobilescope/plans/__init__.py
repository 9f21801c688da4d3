"""What to do, as frozen values: iterating a plan touches no hardware."""
