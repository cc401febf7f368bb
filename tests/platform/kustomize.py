"""The few things of kustomize that deploy/kubernetes uses, so that its tests need no program; more is an error.

Where kubectl is installed, a test compares this with what kustomize itself makes of the same folder.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

KNOWN = {"apiVersion", "kind", "resources", "namespace", "namePrefix", "labels", "images", "patches"}
Object = dict[str, Any]


def build(folder: Path) -> list[Object]:
    """The objects of one kustomization."""
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert rules.keys() <= KNOWN, f"{folder}: {rules.keys() - KNOWN} is more than the tests read"
    objects: list[Object] = []
    for entry in rules.get("resources", []):
        path = folder / entry
        objects += build(path.resolve()) if path.is_dir() else [*yaml.safe_load_all(path.read_text())]
    for patch in rules.get("patches", []):
        hit = [o for o in objects if o["kind"] == patch["target"]["kind"]
               and re.fullmatch(patch["target"]["name"], o["metadata"]["name"])]  # fmt: skip
        assert hit, f"the patch of {patch['target']} changes nothing"
        for target in hit:
            for change in yaml.safe_load(patch["patch"]):
                replace(target, change)
    for label in rules.get("labels", []):
        assert label["includeSelectors"]
        for target in objects:
            add_labels(target, label["pairs"])
    rename(objects, rules.get("namePrefix", ""))
    for target in objects:
        if rules.get("namespace"):
            place(target, rules["namespace"])
        for image in rules.get("images", []):
            for container in containers(target):
                name, _, tag = container["image"].partition(":")
                if name == image["name"]:
                    container["image"] = f"{image['newName']}:{tag}"
    return copy.deepcopy(objects)


def replace(target: Object, change: Object) -> None:
    assert change["op"] == "replace"
    *path, last = change["path"].strip("/").split("/")
    at: Any = target
    for step in path:
        at = at[int(step)] if isinstance(at, list) else at[step]
    assert last in at, f"{change['path']} is not there to be replaced"
    at[last] = change["value"]


def template(target: Object) -> Object | None:
    return target.get("spec", {}).get("template")


def containers(target: Object) -> list[Object]:
    pod = (template(target) or {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def add_labels(target: Object, pairs: dict[str, str]) -> None:
    target["metadata"].setdefault("labels", {}).update(pairs)
    spec = target.get("spec", {})
    if template(target):
        spec["template"]["metadata"]["labels"].update(pairs)
        spec.get("selector", {}).get("matchLabels", {}).update(pairs)  # a Job has none: the cluster makes its own
        affinity = spec["template"]["spec"].get("affinity", {}).get("podAntiAffinity", {})
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", []):
            term["podAffinityTerm"]["labelSelector"]["matchLabels"].update(pairs)
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", []):
            term["labelSelector"]["matchLabels"].update(pairs)
    elif target["kind"] == "Service":
        spec["selector"].update(pairs)


def rename(objects: list[Object], prefix: str) -> None:
    for target in objects:
        target["metadata"]["name"] = prefix + target["metadata"]["name"]
        if target["kind"] == "HorizontalPodAutoscaler":
            target["spec"]["scaleTargetRef"]["name"] = prefix + target["spec"]["scaleTargetRef"]["name"]


def place(target: Object, namespace: str) -> None:
    if target["kind"] != "Namespace":
        target["metadata"]["namespace"] = namespace
    for subject in target.get("subjects", []):
        subject["namespace"] = namespace
