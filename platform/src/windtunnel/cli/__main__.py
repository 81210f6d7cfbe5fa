"""`python -m windtunnel.cli` is the same as `windtunnel`."""

from windtunnel.cli import main

main()
