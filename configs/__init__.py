"""Configurations: literals only, one file to a run."""
