"""The composition root: configuration to instrument, workflows, report, command line."""
