"""What the chart promises about security, checked on what it renders."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from windtunnel.settings import Settings

SECRETIVE = re.compile("PASSWORD|SECRET|FERNET|_KEY$|_KEY_ID$|TOKEN")
CALLS_KUBERNETES = {
    "airflow-api-server", "airflow-scheduler", "controller", "exporter", "prometheus", "stage/rollout",
}  # fmt: skip
STAGES = "windtunnel-stages"


def containers(pod):
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def short(name: str) -> str:
    return re.sub(r"^(windtunnel|wt)-|-[0-9a-f]{8}$", "", name)


def test_every_pod_is_restricted(pods):
    for name, pod in pods.items():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
        for volume in pod["spec"].get("volumes", []):
            assert {"emptyDir", "configMap", "persistentVolumeClaim"} & set(volume), (name, volume)


def test_the_stages_namespace_enforces_the_restricted_profile(default_objects):
    [namespace] = [o for o in default_objects if o["kind"] == "Namespace"]
    assert namespace["metadata"]["name"] == STAGES
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_has_requests_and_a_memory_limit(pods):
    for name, pod in pods.items():
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), name
            assert "memory" in resources["limits"], name


def test_the_default_installation_fits_a_small_node(default_pods):
    """Half of the memory of a 4 GiB node and one of two cores are left to the stages."""
    memory = cpu = 0.0
    for name, pod in default_pods.items():
        if name.startswith("stage/") or "migrate" in name or "retention" in name:
            continue
        requests = pod["spec"]["containers"][0]["resources"]["requests"]
        memory += float(requests["memory"].removesuffix("Mi"))
        cpu += float(requests["cpu"].removesuffix("m")) / 1000
    assert memory <= 3 * 1024
    assert cpu <= 1.0


def test_every_long_running_container_has_probes(default_objects):
    for item in default_objects:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            for container in item["spec"]["template"]["spec"]["containers"]:
                assert {"startupProbe", "livenessProbe"} <= set(container), item["metadata"]["name"]
                if container.get("ports"):
                    assert "readinessProbe" in container, item["metadata"]["name"]


def test_every_image_has_a_pinned_tag(pods):
    images = {c["image"] for pod in pods.values() for c in containers(pod)}
    images |= {
        v["value"]
        for p in pods.values()
        for c in containers(p)
        for v in c.get("env", [])
        if v["name"].endswith("_IMAGE")
    }
    for image in images:
        tag = image.rpartition(":")[2]
        assert "/" not in tag, image
        assert tag not in {"latest", "main", "master", ""}, image


def test_no_secret_is_a_literal_in_an_environment(pods, objects):
    for name, pod in pods.items():
        for container in containers(pod):
            for variable in container.get("env", []):
                if SECRETIVE.search(variable["name"]) and variable["name"] != "WINDTUNNEL_SERVING_SECRET":
                    assert "secretKeyRef" in variable.get("valueFrom", {}), (name, variable["name"])
    for item in objects:
        if item["kind"] == "ConfigMap":
            assert not [key for key in item["data"] if SECRETIVE.search(key)], item["metadata"]["name"]
            assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", json.dumps(item["data"])), item["metadata"][
                "name"
            ]


def test_no_secret_is_in_an_argument(pods):
    for name, pod in pods.items():
        for container in containers(pod):
            line = " ".join([*container.get("command", []), *container.get("args", [])])
            assert not re.search(r"\$\(\w*(PASSWORD|SECRET|KEY)\w*\)", line), name


def test_stage_pods_see_only_the_credentials_of_the_two_stores(pods):
    forbidden = re.compile("FERNET|JWT|SQL_ALCHEMY|PGPASSWORD|API__SECRET_KEY|ADMIN|postgres")
    for name, pod in pods.items():
        if not name.startswith("stage/"):
            continue
        [container] = pod["spec"]["containers"]
        assert "envFrom" not in container
        referred = {v["name"] for v in container["env"] if "secretKeyRef" in v.get("valueFrom", {})}
        assert referred == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "WINDTUNNEL_ONLINE_STORE_PASSWORD"}
        assert not forbidden.search(yaml.safe_dump(pod)), name


def test_stage_pods_start_without_volumes_unless_their_class_asks_for_a_disk(default_pods):
    assert "volumes" not in default_pods["stage/small"]["spec"]
    assert "volumes" not in default_pods["stage/rollout"]["spec"]
    for name, pod in default_pods.items():
        if name.startswith("stage/"):
            environment = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
            assert environment["TMPDIR"] in {"/dev/shm", "/scratch"}
            assert environment["AIRFLOW_HOME"].startswith(environment["TMPDIR"])


def test_the_grace_period_of_stage_pods_is_not_that_of_the_executors_watch(pods):
    for name, pod in pods.items():
        if name.startswith("stage/"):
            assert pod["spec"]["terminationGracePeriodSeconds"] != 30


def test_the_environment_of_a_stage_pod_is_what_the_settings_read(default_pods):
    environment = {
        v["name"]: v.get("value", "x") for v in default_pods["stage/small"]["spec"]["containers"][0]["env"]
    }
    settings = Settings.from_environment(environment)
    assert str(settings.store) == "s3://windtunnel"
    assert settings.served_models == "kubernetes:windtunnel"


def test_a_service_account_token_is_mounted_only_where_the_api_is_called(pods):
    mounted = {short(name) for name, pod in pods.items() if pod["spec"]["automountServiceAccountToken"]}
    # The last by its own service account, which the chart does not make.
    assert mounted <= CALLS_KUBERNETES | {"stage/spark"}
    assert "stage/rollout" in mounted


def test_a_stage_class_may_bring_its_own_service_account(render):
    templates = next(
        o for o in render(variant="all-options") if o["metadata"]["name"].endswith("pod-templates")
    )
    accounts = {
        name: yaml.safe_load(templates["data"][f"{name}.yaml"])["spec"]["serviceAccountName"]
        for name in ("spark", "gpu", "rollout")
    }
    assert accounts == {"spark": "spark-driver", "gpu": "stage", "rollout": "rollout"}


def test_every_component_has_its_own_service_account(default_pods):
    accounts = [
        pod["spec"]["serviceAccountName"]
        for name, pod in default_pods.items()
        if not name.startswith("stage/")
    ]
    assert len(accounts) == len(set(accounts))
    assert "default" not in accounts


def grants(objects):
    """(namespace of the role, account's namespace, account, rule) of every binding."""
    roles = {
        (o["metadata"]["namespace"], o["metadata"]["name"]): o["rules"]
        for o in objects
        if o["kind"] == "Role"
    }
    for item in objects:
        if item["kind"] == "RoleBinding":
            namespace = item["metadata"]["namespace"]
            for rule in roles[namespace, item["roleRef"]["name"]]:
                for subject in item["subjects"]:
                    yield namespace, subject["namespace"], subject["name"], rule


def test_nothing_is_granted_cluster_wide_or_by_wildcard(objects):
    assert not [o for o in objects if o["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    for *_, rule in grants(objects):
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"secrets", "pods/exec", "serviceaccounts"} & set(rule["resources"])


def test_only_scheduler_and_api_server_touch_stage_pods(default_objects):
    touching = {
        account for namespace, _, account, rule in grants(default_objects)
        if namespace == STAGES and any(r.startswith("pods") for r in rule["resources"])
    }  # fmt: skip
    assert touching == {"windtunnel-airflow-scheduler", "windtunnel-airflow-api-server"}


def test_the_rollout_stage_writes_served_models_and_nothing_else(default_objects):
    of_stages = [(ns, account, rule) for ns, home, account, rule in grants(default_objects) if home == STAGES]
    [(namespace, account, rule)] = of_stages
    assert (namespace, account) == ("windtunnel", "rollout")
    assert rule["resources"] == ["servedmodels"]
    assert not {"delete", "list", "watch"} & set(rule["verbs"])


def test_the_controller_can_take_a_challenger_back_but_neither_make_nor_delete_what_serves(default_objects):
    rules = [rule for *_, account, rule in grants(default_objects) if account == "windtunnel-controller"]
    verbs = {verb for rule in rules if "servedmodels" in rule["resources"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "patch"}
    assert {"create"} == {verb for rule in rules if "events" in rule["resources"] for verb in rule["verbs"]}


def test_the_controller_deletes_autoscalers_and_nothing_else(default_objects):
    rules = [rule for *_, account, rule in grants(default_objects) if account == "windtunnel-controller"]
    [deleting] = [rule for rule in rules if "delete" in rule["verbs"]]
    assert deleting == {
        "apiGroups": ["autoscaling"],
        "resources": ["horizontalpodautoscalers"],
        "verbs": ["get", "create", "patch", "delete"],
    }


def policies(objects, namespace):
    return {
        o["metadata"]["name"]: o["spec"]
        for o in objects
        if o["kind"] == "NetworkPolicy" and o["metadata"]["namespace"] == namespace
    }


@pytest.mark.parametrize("namespace", ["windtunnel", STAGES])
def test_everything_is_denied_first(default_objects, namespace):
    denied = policies(default_objects, namespace)["windtunnel-default-deny"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def reaches_kubernetes(spec) -> bool:
    return any({"port": 6443, "protocol": "TCP"} in rule.get("ports", []) for rule in spec.get("egress", []))


def test_only_the_rollout_class_of_the_stages_reaches_the_kubernetes_api(default_objects):
    found = policies(default_objects, STAGES)
    assert {name for name, spec in found.items() if reaches_kubernetes(spec)} == {"rollout"}
    assert found["rollout"]["podSelector"]["matchLabels"]["windtunnel.dev/stage-class"] == "rollout"
    # No rule without a destination, which would let a stage pod out to anywhere.
    assert all("to" in rule for rule in found["stage"]["egress"])


def test_who_reaches_the_kubernetes_api_is_who_has_a_token(default_objects, default_pods):
    reaching = {
        short(n) for n, spec in policies(default_objects, "windtunnel").items() if reaches_kubernetes(spec)
    }
    mounted = {short(n) for n, pod in default_pods.items() if pod["spec"]["automountServiceAccountToken"]}
    # Serving pods watch their ServedModel; the controller makes them, and their policy.
    assert reaching == mounted - {"stage/rollout"}


def test_the_controller_reaches_what_serving_pods_count(default_objects):
    egress = policies(default_objects, "windtunnel")["windtunnel-controller"]["egress"]
    serving = {"app.kubernetes.io/name": "windtunnel", "app.kubernetes.io/component": "serving"}
    assert {
        "to": [{"podSelector": {"matchLabels": serving}}],
        "ports": [{"protocol": "TCP", "port": 8080}],
    } in egress


def test_the_controller_holds_the_object_stores_keys_and_no_others(pods):
    [controller] = [pod for name, pod in pods.items() if short(name) == "controller"]
    [container] = controller["spec"]["containers"]
    assert "envFrom" not in container
    referred = {v["name"] for v in container["env"] if "secretKeyRef" in v.get("valueFrom", {})}
    assert referred == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    given = {v["name"]: v.get("value", "") for v in container["env"]}
    assert given["WINDTUNNEL_STORE"].startswith("s3://")
    assert given["MLFLOW_TRACKING_URI"].endswith(":5000")


def test_the_controller_reaches_the_ledger_and_mlflow(render, default_objects):
    egress = policies(default_objects, "windtunnel")["windtunnel-controller"]["egress"]
    ports = {port["port"] for rule in egress for port in rule["ports"]}
    assert {9000, 5000} <= ports
    external = policies(render(variant="external"), "windtunnel")["windtunnel-controller"]["egress"]
    assert 9000 not in {port["port"] for rule in external for port in rule["ports"]}


def test_stage_pods_cannot_reach_the_database(default_objects):
    ingress = policies(default_objects, "windtunnel")["windtunnel-postgres"]["ingress"]
    peers = [peer for rule in ingress for peer in rule["from"]]
    assert all("namespaceSelector" not in peer for peer in peers)
    assert "serving" not in json.dumps(peers)
    assert "postgres" not in json.dumps(policies(default_objects, STAGES))


def test_every_arrow_has_both_ends(default_objects):
    """An egress rule is worth nothing without the ingress rule at its other end, and the reverse."""
    released = policies(default_objects, "windtunnel")
    by_component = {
        spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: spec
        for spec in released.values()
        if spec["podSelector"]
    }
    by_component["stage"] = policies(default_objects, STAGES)["stage"]

    def component(peer) -> str:
        return peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component", "")

    out = {
        (source, component(peer), rule["ports"][0]["port"])
        for source, spec in by_component.items()
        for rule in spec.get("egress", [])
        for peer in rule.get("to", [])
    }
    into = {
        (component(peer), target, rule["ports"][0]["port"])
        for target, spec in by_component.items()
        for rule in spec.get("ingress", [])
        for peer in rule["from"]
    }
    # The controller writes the policies of the serving pods.
    out = {arrow for arrow in out if arrow[1] not in {"", "serving"}}
    into = {arrow for arrow in into if arrow[0] != "serving"}
    assert out == into
    assert out >= {
        ("stage", "airflow-api-server", 8080),
        ("mlflow", "postgres", 5432),
        ("stage", "valkey", 6379),
    }


def test_policies_can_be_left_to_others(render):
    assert not [o for o in render({"networkPolicy": {"enabled": False}}) if o["kind"] == "NetworkPolicy"]
