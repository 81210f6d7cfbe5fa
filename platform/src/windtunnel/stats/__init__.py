"""Statistics as pure functions over numpy arrays: no I/O, no model library, no pandas.

Belongs here: what turns arrays into numbers or decisions (losses, metrics, tests, the gate, reference
profiles, baselines). Does not belong here: reading snapshots or bundles (`registry`, `stages`).
"""
