"""Models and the bundles that serve them: conversion, bundles in the object store, versions in MLflow.

`bundle` and `runtimes` are read by the serving runtime and stay lean (numpy, onnxruntime); `models` and
`conversion` are for stages only. Nothing here decides what serves: that is `rollout`.
"""
