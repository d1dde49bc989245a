"""The parts of tools/deploy/one-gb."""
