"""The lean worker: what a stage pod runs in the place of Airflow's own worker.

The task SDK's supervisor and task runner as they are, on light stand-ins for the few modules of Airflow's
core that the SDK still imports; without the core's settings, models and SQLAlchemy. Here belongs what takes
a module's place, and what is done where a stand-in is not enough. Nothing is imported here: `stand_ins` must
come before anything of Airflow.
"""
