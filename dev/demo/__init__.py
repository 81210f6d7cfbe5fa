"""The demo: the thread of one lifecycle on a real cluster, driven from outside as a user would.

Belongs here: what `make demo` does and shows, and the small clients (kubectl, Airflow's API) that the
cluster tests share with it. Does not belong here: anything that the platform itself needs.
"""
