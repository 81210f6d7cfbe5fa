"""A lifecycle on a laptop: the same stages in the same order, each in a child process, on one directory.

Here belongs what takes the place of Airflow and Kubernetes: paths, order, processes, source data. What a user
sees of it is the command line's; what a stage does is the stage's.
"""
