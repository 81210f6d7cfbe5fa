"""Rollout: who serves, and the one way in which that changes.

Belongs here: the compare-and-swap on ServedModels and where they live. Does not belong here: what a verdict
says (`stats`), bundles and versions (`registry`), what a cluster makes of a ServedModel (`controller`).
"""
