"""Retention: what a lifecycle leaves in the object store, and which of it may go.

`contents` lists it, `rules` finds what is old, `references` what is still needed, and `sweep` takes the rest
away. Whatever is not known by its place is left alone; the ledger, verdicts and measures are for good.
"""
