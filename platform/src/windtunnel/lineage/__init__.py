"""Lineage: from the id of a prediction back to all that it was made of, and the prediction made again.

What is logged (`prediction_log`), what a model is (`registry`) and what was decided about it (the ledger) are
each kept elsewhere, verified by digest; here is the way from one to the next. Nothing here writes.
"""
