"""Helm values that name the images, for `helm install -f`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev.imaging.building import Contexts, Target
    from dev.imaging.catalog import Image

# The chart's keys, where they are not the image's name.
_KEYS = {"versitygw": "objectStore", "statsd-exporter": "statsdExporter"}


def values(images: Sequence[Image], target: Target, contexts: Contexts) -> str:
    """A values file with the registry and each image's repository and tag."""
    lines = ["images:", f'  registry: "{target.registry}"']
    for image in images:
        if not image.runs or image.optional:
            continue
        # Own images are named below the registry, the stores' in full, since upstream's come from elsewhere.
        repository = target.repository(image) if image.store else image.repository
        tag = target.tag_of(contexts.of(image))
        lines.append(f'  {_KEYS.get(image.name, image.name)}: {{repository: "{repository}", tag: "{tag}"}}')
    return "\n".join(lines) + "\n"
