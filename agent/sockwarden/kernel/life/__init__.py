"""Processes, cgroups and containers as they come and go."""
