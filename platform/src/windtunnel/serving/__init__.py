"""The serving runtime: answers Open Inference Protocol v2 requests with the model that a ServedModel names.

One path for a request: app (routes) → protocol (wire) → inputs (matrix or entity keys) → dataplane (answer).
One path for a model: watcher (ServedModel) → loader (verified, rehearsed) → dataplane (swapped in).
A challenger: challenger (what is wanted) → challenger_keeper (its process) → challenger_link (socket to it)
→ challenger_process (the process itself). routing says which requests it answers, shadow has copies for it.
The prediction log: prediction_log (open chunks) → log_keeper (until stored) → log_writer (a process).
Nothing here imports pandas, Feast, MLflow or a stage: start to first answer is within two seconds.
"""
