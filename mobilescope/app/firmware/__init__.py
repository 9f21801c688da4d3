"""The ring's firmware: built, flashed, verified, read out and simulated."""
