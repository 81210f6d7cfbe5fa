"""What the chart renders is valid Kubernetes, consistently named and labelled."""

from __future__ import annotations

import json
import re
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from .conftest import pods_of

KUBERNETES = ("1.30", "1.35")
# Templates outside of a component's folder, or whose component is another's.
COMPONENT_OF_FOLDER = {"stages": "stage", "airflow": None}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid(objects, version):
    for item in objects:
        # The Prometheus operator's kinds are not Kubernetes' own; test_monitoring.py looks at them.
        if not item["apiVersion"].startswith("monitoring.coreos.com/"):
            plain = {key: value for key, value in item.items() if key != "_template"}
            kubernetes_validate.validate(plain, version, strict=True)


def test_every_stage_class_is_a_valid_pod(pods):
    for name, pod in pods.items():
        if name.startswith("stage/"):
            kubernetes_validate.validate(pod, KUBERNETES[-1], strict=True)
            assert [c["name"] for c in pod["spec"]["containers"]] == ["base"]
            assert "args" not in pod["spec"]["containers"][0], "the executor gives them"


def test_the_lean_worker_runs_stages_and_the_stock_one_is_one_value_away(render, default_pods):
    def commands(pods):
        containers = [pod["spec"]["containers"][0] for name, pod in pods.items() if name.startswith("stage/")]
        return {" ".join(container.get("command", ())) for container in containers}

    assert commands(default_pods) == {"/usr/bin/tini -- /opt/airflow/bin/python -m windtunnel.airflow.worker"}
    assert commands(pods_of(render({"stages": {"worker": "stock"}}))) == {""}


def test_libraries_start_as_many_threads_as_the_class_has_cpu(pods):
    """Kubernetes rounds the request up. OpenBLAS goes by OMP_NUM_THREADS too; a thread more than there is CPU
    for has all others wait for it.
    """
    asked = {"resourceFieldRef": {"containerName": "base", "resource": "requests.cpu", "divisor": "1"}}
    for name, pod in pods.items():
        if name.startswith("stage/"):
            (container,) = pod["spec"]["containers"]
            told = {one["name"]: one.get("valueFrom") for one in container["env"]}
            assert told["OMP_NUM_THREADS"] == told["POLARS_MAX_THREADS"] == asked
            assert container["resources"]["requests"]["cpu"], "or the node's cores would count"


def test_helm_lint_has_no_complaint(chart_directory: Path):
    report = helm.lint(chart_directory, strict=True)
    assert [m["error"] for m in report["messages"] if m["severity"] > 1] == []


def test_no_object_appears_twice(objects):
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys))


def test_every_namespaced_object_says_its_namespace(objects):
    for item in objects:
        if item["kind"] not in {"Namespace", "CustomResourceDefinition"}:
            assert item["metadata"]["namespace"], item["metadata"]["name"]


def test_the_folder_is_the_component(objects):
    for item in objects:
        folder = str(Path(item["_template"]).parent).replace("/", "-")
        component = item["metadata"]["labels"]["app.kubernetes.io/component"]
        if COMPONENT_OF_FOLDER.get(folder, folder) is None:
            assert component.startswith(folder)
        else:
            assert component == COMPONENT_OF_FOLDER.get(folder, folder), item["_template"]


def test_every_name_carries_the_prefix(render):
    for item in render({"fullnameOverride": "tunnel"}):
        if item["kind"] in {"Namespace", "CustomResourceDefinition"}:
            continue
        name = item["metadata"]["name"]
        assert name.startswith("tunnel-") or name in {"stage", "rollout"}, name


def test_two_releases_share_no_name(render):
    def keys(release: str) -> set[tuple[str, str, str]]:
        found = render({"crds": {"install": False}}, release=release)
        return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in found}

    assert not keys("one") & keys("two")


def test_services_select_pods_and_ports_that_exist(objects):
    templates = [o["spec"]["template"] for o in objects if o["kind"] in {"Deployment", "StatefulSet"}]
    services = [o for o in objects if o["kind"] == "Service"]
    assert services
    for service in services:
        selector = service["spec"]["selector"].items()
        chosen = [t for t in templates if selector <= t["metadata"]["labels"].items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        ports = {p["name"] for c in chosen[0]["spec"]["containers"] for p in c.get("ports", [])}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


def test_what_pods_refer_to_exists(default_objects, default_pods):
    """ConfigMaps, Secrets with their keys, claims and service accounts."""
    keys = {
        (o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]): set(o.get("data", {}))
        for o in default_objects
        if o["kind"] in {"ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount"}
    }
    for name, pod in default_pods.items():
        namespace = "windtunnel-stages" if name.startswith("stage/") else "windtunnel"
        spec = pod["spec"]
        assert ("ServiceAccount", namespace, spec["serviceAccountName"]) in keys
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            for variable in container.get("env", []):
                ref = variable.get("valueFrom", {}).get("secretKeyRef")
                if ref:
                    assert ref["key"] in keys["Secret", namespace, ref["name"]], (name, variable["name"])
            for source in container.get("envFrom", []):
                assert ("ConfigMap", namespace, source["configMapRef"]["name"]) in keys
            mounts = {m["name"] for m in container.get("volumeMounts", [])}
            assert mounts <= {v["name"] for v in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", namespace, volume["configMap"]["name"]) in keys
            if "persistentVolumeClaim" in volume:
                assert (
                    "PersistentVolumeClaim",
                    namespace,
                    volume["persistentVolumeClaim"]["claimName"],
                ) in keys


def test_names_of_environment_variables_are_unique_in_a_container(pods):
    for name, pod in pods.items():
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), (name, container["name"])


def test_nothing_is_a_hook(objects):
    """Hooks that migrate deadlock under --wait."""
    for item in objects:
        assert "helm.sh/hook" not in item["metadata"].get("annotations", {})


def test_the_migration_job_is_named_by_what_it_does(render):
    def name(values: dict) -> str:
        return next(o["metadata"]["name"] for o in render(values) if o["kind"] == "Job")

    assert name({}) == name({"mlflow": {"allowedHosts": ["elsewhere"]}})
    assert name({}) != name({"images": {"airflow": {"tag": "2.0.0"}}})
    assert name({}) != name({"airflow": {"admin": {"username": "somebody"}}})


def controller_environment(objects) -> dict[str, str]:
    [controller] = [
        o for o in objects if o["metadata"]["name"].endswith("-controller") and o["kind"] == "Deployment"
    ]
    [container] = controller["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


@pytest.mark.parametrize("variant", ["default", "all-options"])
def test_serving_pods_get_what_every_pod_of_the_namespace_gets(render, chart_directory, variant):
    environment = controller_environment(render(variant=variant))
    values = yaml.safe_load((chart_directory / "values.yaml").read_text())
    given_by = yaml.safe_load((chart_directory / "ci/all-options-values.yaml").read_text())
    pods, images = (
        {**values[key], **(given_by[key] if variant == "all-options" else {})} for key in ("pods", "images")
    )
    given = {key: value for key, value in pods.items() if key != "annotations" and value}
    if images["pullSecrets"]:
        given["imagePullSecrets"] = [{"name": name} for name in images["pullSecrets"]]
    assert json.loads(environment["WINDTUNNEL_SERVING_POD"]) == given
    assert json.loads(environment["WINDTUNNEL_SERVING_ANNOTATIONS"]) == pods["annotations"]


def test_changed_configuration_restarts_who_reads_it(render):
    def checksums(values: dict) -> dict[str, dict[str, str]]:
        return {
            o["metadata"]["name"]: o["spec"]["template"]["metadata"].get("annotations", {})
            for o in render(values)
            if o["kind"] in {"Deployment", "StatefulSet"}
        }

    before = checksums({})
    after = checksums({"airflow": {"parallelism": 3}})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        f"windtunnel-airflow-{c}" for c in ("api-server", "scheduler", "dag-processor", "triggerer")
    }
    after = checksums({"stages": {"classes": {"small": {"resources": {"requests": {"cpu": "1"}}}}}})
    assert {name for name in before if before[name] != after[name]} == {"windtunnel-airflow-scheduler"}


def test_a_new_version_of_the_chart_alone_restarts_no_store(default_objects):
    for item in default_objects:
        if item["kind"] == "StatefulSet":
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_data_survives_an_uninstall_only_together_with_what_opens_it(render):
    def kept(values: dict) -> set[str]:
        return {
            o["kind"]
            for o in render(values)
            if "helm.sh/resource-policy" in o["metadata"].get("annotations", {})
        }

    assert kept({}) == {"PersistentVolumeClaim", "Secret", "CustomResourceDefinition"}
    assert kept({"keepDataOnUninstall": False, "crds": {"keep": False}}) == set()


def test_the_crd_is_the_one_that_the_types_describe(default_objects):
    from windtunnel.spec.servedmodel_crd import crd

    shipped = next(o for o in default_objects if o["kind"] == "CustomResourceDefinition")
    assert shipped["spec"] == crd()["spec"]
    assert not [o for o in default_objects if o["kind"] == "ServedModel"]


def test_external_stores_leave_nothing_of_the_embedded_ones(render):
    found = {o["metadata"]["labels"]["app.kubernetes.io/component"] for o in render(variant="external")}
    assert not found & {"postgres", "valkey", "object-store", "prometheus"}


@pytest.mark.parametrize(("tls", "scheme"), [(True, "rediss"), (False, "redis")])
def test_a_redis_elsewhere_is_spoken_to_by_tls_where_it_asks_for_that(render, tls, scheme):
    external = {"host": "redis.example.com", "existingSecret": "redis", "tls": tls}
    objects = render({"valkey": {"enabled": False, "external": external}})
    found = set(re.findall(r"(rediss?)://redis\.example\.com:6379/0", json.dumps(objects)))
    assert found == {scheme}


def test_every_switch_works_alone(render):
    external = yaml.safe_load(
        (Path(__file__).parents[2] / "charts/windtunnel/ci/external-values.yaml").read_text()
    )
    for key, folder in {"postgres": "postgres", "valkey": "valkey", "objectStore": "object-store"}.items():
        found = {o["metadata"]["labels"]["app.kubernetes.io/component"] for o in render({key: external[key]})}
        assert folder not in found
        assert len(found & {"postgres", "valkey", "object-store"}) == 2


def test_a_generated_fernet_key_is_url_safe_base64_of_32_bytes(default_objects):
    import base64

    secret = next(o for o in default_objects if "AIRFLOW__CORE__FERNET_KEY" in o.get("data", {}))
    key = base64.b64decode(secret["data"]["AIRFLOW__CORE__FERNET_KEY"]).decode()
    assert len(base64.urlsafe_b64decode(key)) == 32
    assert re.fullmatch(r"[A-Za-z0-9_=-]{44}", key)


def test_both_namespaces_get_the_same_generated_credentials(default_objects):
    for name in ("windtunnel-object-store", "windtunnel-online-store"):
        copies = [
            o["data"] for o in default_objects if o["kind"] == "Secret" and o["metadata"]["name"] == name
        ]
        assert len(copies) == 2
        assert copies[0] == copies[1]
