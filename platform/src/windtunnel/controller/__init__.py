"""The controller: turns a ServedModel into a Deployment, Service, PodDisruptionBudget and NetworkPolicy.

`reconcile` and `status` are pure (object in, objects out); `cluster` talks to the API server and to the
serving pods; `keeper` does one round for one ServedModel; `challenger_guard` looks at its challenger each
second, by what `scrape` reads; `handlers` is the glue to kopf, which watches.
What a ServedModel says is never acted on twice in different ways: a round starts from what is, so a
controller may die at any moment.
"""
