"""The manifests and the Helm chart: rendered by Helm and kubectl, held against the schemas of Kubernetes, and read by the router."""

import json
import os
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = "deploy/helm/sgl-router"
#: The oldest and the newest version that the chart is for.
VERSIONS = ("1.25", "1.37")
#: Kinds that Kubernetes itself does not have, each with the members of its `spec` that it needs.
CUSTOM = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints"}),
    "ScaledObject": ("keda.sh/v1alpha1", {"scaleTargetRef", "triggers"}),
    "InferencePool": ("inference.networking.k8s.io/v1", {"selector", "targetPorts", "endpointPickerRef"}),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", {"parentRefs", "rules"}),
}
CASES = {
    "plain": {},
    "everything": {
        "autoscaling.enabled": "true",
        "workerScaling.enabled": "true",
        "serviceMonitor.enabled": "true",
        "serviceMonitor.labels.release": "prometheus",
        "discovery.service": "sglang",
        "discovery.namespace": "models",
        "nodeSelector.disk": "ssd",
        "podAnnotations.team": "inference",
    },
    "all namespaces": {"discovery.namespace": "*", "serviceAccount.name": "mine", "keysSecret": ""},
    "prefill and decode": {
        "discovery.selector": "null",
        "discovery.prefillSelector.role": "prefill",
        "discovery.decodeSelector.role": "decode",
        "disruptionBudget.enabled": "false",
    },
}


def objects(text):
    return [each for each in yaml.safe_load_all(text) if each]


def validate(manifests, versions=VERSIONS):
    assert manifests
    for each in manifests:
        if each["kind"] in CUSTOM:
            version, members = CUSTOM[each["kind"]]
            assert each["apiVersion"] == version and members <= set(each["spec"]), each
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{each['kind']} {each['metadata']['name']}, Kubernetes {version}: {error}")


def of(manifests, kind):
    return [each for each in manifests if each["kind"] == kind]


def assert_agreement(manifests, folder):
    """What refers to each other in the manifests is there."""
    (deployment,) = of(manifests, "Deployment")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    labels = template["metadata"]["labels"].items()
    (service,) = of(manifests, "Service")
    for selector in (service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    assert container["livenessProbe"]["httpGet"] == {"path": "/liveness", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readiness", "port": "http"}
    (config,) = [each for each in of(manifests, "ConfigMap") if "router.toml" in each["data"]]
    toml = config["data"]["router.toml"]
    assert f"prometheus_port = {ports['metrics']}" in toml
    grace = int(found[1]) if (found := re.search(r"shutdown_grace_period_secs = (\d+)", toml)) else 180
    delay = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert template["spec"]["terminationGracePeriodSeconds"] > grace + delay
    roles = of(manifests, "Role") + of(manifests, "ClusterRole")
    (rules,) = [role["rules"] for role in roles]
    watched = {resource for rule in rules for resource in rule["resources"]}
    assert {"get", "list", "watch"} == set(rules[0]["verbs"]) and "pods" in watched
    assert "service_discovery_service" not in toml or "endpointslices" in watched
    (binding,) = of(manifests, "RoleBinding") + of(manifests, "ClusterRoleBinding")
    assert binding["subjects"][0]["name"] == template["spec"]["serviceAccountName"]
    assert_configuration(toml, folder)


def assert_configuration(toml, folder):
    """The router accepts the configuration: it starts, as far as it can without a cluster."""
    binary = os.environ["SGL_ROUTER_BIN"]
    path = folder / "router.toml"
    path.write_text(toml)
    # An address that no machine has ends it once the configuration was read; nothing is served.
    elsewhere = ["--host", "192.0.2.1", "--prometheus-host", "192.0.2.1"]
    line = [binary, "launch", "--config", str(path), *elsewhere]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "cannot listen on 192.0.2.1" in done.stderr, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_chart(run, case, tmp_path):
    sets = [word for key, value in CASES[case].items() for word in ("--set", f"{key}={value}")]
    manifests = objects(run("helm", "template", "llm", CHART, "--namespace", "routing", *sets))
    validate(manifests)
    assert_agreement(manifests, tmp_path)


def test_chart_is_linted(run):
    run("helm", "lint", "--strict", CHART)


def test_kustomization(run, tmp_path):
    manifests = objects(run("kubectl", "kustomize", "deploy/kubernetes"))
    validate(manifests)
    assert_agreement(manifests, tmp_path)


def test_gateway_api(run):
    """The gateway's route leads to the pool, the pool to the picker, and the picker may read the pool."""
    manifests = objects(run("kubectl", "kustomize", "deploy/gateway-api"))
    validate(manifests)
    (pool,), (route,), (service,) = (of(manifests, kind) for kind in ("InferencePool", "HTTPRoute", "Service"))
    (deployment,), (role,), (binding,) = (of(manifests, kind) for kind in ("Deployment", "Role", "RoleBinding"))
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert (backend["kind"], backend["name"]) == ("InferencePool", pool["metadata"]["name"])
    picker = pool["spec"]["endpointPickerRef"]
    assert (picker["name"], picker["port"]["number"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert f"--service-discovery-pool={pool['metadata']['name']}" in container["args"]
    watched = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert watched == {"pods", "inferencepools"}
    assert binding["subjects"][0]["name"] == pod["serviceAccountName"]


def test_examples():
    for path in sorted((ROOT / "deploy/kubernetes/examples").glob("*.yaml")):
        validate(objects(path.read_text()))


def test_fixtures_of_discovery():
    """The objects in the tests of discovery have the form that Kubernetes publishes."""
    for path in sorted((ROOT / "crates/router-kubernetes/tests/data").glob("*.json")):
        validate([json.loads(path.read_text())], VERSIONS[-1:])
