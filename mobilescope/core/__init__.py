"""What every room shares: errors, geometry, configuration, device protocols, progress."""
