"""What a stage costs before its own code runs, on the one-node cluster."""
