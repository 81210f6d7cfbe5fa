"""The Grafana dashboards of the chart, as code: `python -m dev.dashboards` writes their JSON into it.

`panels` knows how a panel looks, one module for each dashboard what it asks; `queries` lists what the JSON
asks.
"""
