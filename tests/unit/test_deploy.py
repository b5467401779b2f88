"""What is in cluster/deploy/ fits the product: rules, dashboard and units are read by the tools that will read them,
where these are here, and name only metrics, settings, commands, files and headings that there are.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvstore.config import SETTINGS
from kvstore.telemetry.catalogue import ROWS
from tests.alerts.rules import DEPLOY, ROOT, RULES, hastened, rules, seconds
from tests.alerts.scenarios import SCENARIOS

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: cluster/install-extras.sh")
VARIABLES = {setting.env for setting in SETTINGS}
DASHBOARD = DEPLOY / "grafana" / "kvstore.json"
NAME = re.compile(r"\b((?:kv|request|process|python)_[a-z0-9_]+)\b(?=[{\[)\s]|$)")


def promtool(*arguments: str, directory: Path = RULES.parent) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboard_expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$job", "kvstore")


def metrics_in(expression: str) -> set[str]:
    found = set()
    for name in NAME.findall(expression):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found.add(base if ROWS.get(base, ROWS["kv_alarms"]).kind == "histogram" else name)
    return found


@needs_promtool
def test_promtool_accepts_the_rules_their_unit_tests_and_the_example() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    assert "is valid" in promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_promtool_accepts_every_expression_of_the_dashboard_and_the_rules_made_shorter(tmp_path: Path) -> None:
    recorded = [{"record": f"kvstore:panel{n}", "expr": each} for n, each in enumerate(dashboard_expressions())]
    assert len(recorded) > 25
    document = {"groups": [{"name": "dashboard", "rules": recorded}]}
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump(document))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", "dashboard.yml", directory=tmp_path)
    (tmp_path / "hastened.yml").write_text(hastened(60))
    assert f"{len(rules())} rules found" in promtool("check", "rules", "hastened.yml", directory=tmp_path)


def test_every_metric_that_is_named_is_exported() -> None:
    for expression in [*(rule["expr"] for rule in rules()), *dashboard_expressions()]:
        found = metrics_in(expression)
        assert found or "up{" in expression, expression
        assert found <= set(ROWS), (found - set(ROWS), expression)


def test_labels_in_expressions_are_those_of_their_metrics() -> None:
    given = {"job", "instance", "le"}
    for expression in [*(rule["expr"] for rule in rules()), *dashboard_expressions()]:
        for name, matchers in re.findall(r"((?:kv|request)_[a-z0-9_]+)\{([^}]*)\}", expression):
            (metric,) = metrics_in(name)
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
            assert used <= {*ROWS[metric].labels, *given}, expression
        of = set().union(*(ROWS[metric].labels for metric in metrics_in(expression)))
        for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            assert set(grouping.replace(" ", "").split(",")) <= of | given, expression


def test_every_alert_says_what_to_do_and_where_to_read_on() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (Kv\w+)$", page, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["labels"] == {"severity": rule["labels"]["severity"]}
        assert rule["labels"]["severity"] in ("warning", "critical")
        told = rule["annotations"]
        assert set(told) == {"summary", "description", "runbook"}
        assert told["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert len(told["description"]) > 80
        assert not told["summary"].endswith(".")
        seconds(rule["for"])


def test_every_alert_has_a_unit_test_both_ways_and_a_fault_that_it_is_for() -> None:
    names = [rule["alert"] for rule in rules()]
    tests = yaml.safe_load((RULES.parent / "alerts_test.yml").read_text())["tests"]
    assert [test["name"] for test in tests] == [f"{name} {how}" for name in names for how in ("fires", "does not fire")]
    struck = [alert for scenario in SCENARIOS for alert in scenario.alerts]
    assert sorted(struck) == sorted(names)


def test_the_rules_made_shorter_differ_in_durations_alone() -> None:
    shorter = [rule for group in yaml.safe_load(hastened(60))["groups"] for rule in group["rules"]]
    for rule, hasty in zip(rules(), shorter, strict=True):
        assert re.sub(r"\[\w+\]", "[]", rule["expr"]) == re.sub(r"\[\w+\]", "[]", hasty["expr"])
        assert hasty | {"for": 0, "expr": 0} == rule | {"for": 0, "expr": 0}
        assert seconds(hasty["for"]) <= 30


# -- units, images, manifests


def test_the_unit_starts_a_command_that_there_is_with_settings_that_there_are() -> None:
    unit = (DEPLOY / "systemd" / "kvstore@.service").read_text()
    assert re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE) == ["/opt/kvstore/bin/kv serve"]
    assert set(re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE)) <= VARIABLES
    assert set(re.findall(r"KV_[A-Z_]*[A-Z]", unit)) <= VARIABLES
    assert re.search(r"^RestartPreventExitStatus=2 7$", unit, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "kvstore@.service").read_text()
    # What it starts is not installed here, and has to be there to be verified.
    (tmp_path / "kvstore@.service").write_text(unit.replace("/opt/kvstore/bin/kv", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "kvstore@.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if "kvstore" in line]
    assert (done.returncode, about_ours) == (0, []), done.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / "kvstore@.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-500:] + rated.stderr


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def test_the_dockerfile_copies_what_there_is_and_runs_a_node_without_root() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT"}
    assert {word for word, _ in instructions()} <= known
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    told = dict(instructions())
    assert json.loads(told["ENTRYPOINT"]) == ["kv", "serve"]
    assert told["USER"].isdigit()
    assert told["USER"] != "0"
    assert set(re.findall(r"KV_[A-Z_]*[A-Z]", told["ENV"])) <= VARIABLES
    wanted = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert wanted is not None
    copied = {rest.split()[0] for word, rest in instructions() if word == "COPY"}
    assert {name.split("/")[0] for name in re.findall(r'"([^"]+)"', wanted[1])} <= copied


def test_the_nodes_of_the_compose_file_are_each_others_peers() -> None:
    document = yaml.safe_load((DEPLOY / "docker" / "compose.yml").read_text())
    services = document["services"]
    assert sorted(services) == ["n1", "n2", "n3"]
    for name, service in services.items():
        variables = service["environment"]
        assert set(variables) <= VARIABLES
        assert (variables["KV_NAME"], service["hostname"]) == (name, name)
        assert variables["KV_LISTEN_PEER"] == f"{name}:8481"
        assert dict(peer.split("=") for peer in variables["KV_PEERS"].split(",")) == {
            other: services[other]["environment"]["KV_LISTEN_PEER"] for other in services if other != name
        }
        assert service["volumes"] == [f"{name}:/data"]
        assert name in document["volumes"]
        (published,) = service["ports"]
        assert published.startswith("127.0.0.1:")
        assert published.endswith(variables["KV_LISTEN"].partition(":")[2])
        assert (DEPLOY / "docker" / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).exists()
    assert len({service["ports"][0] for service in services.values()}) == 3


def manifests() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / "statefulset.yml").read_text()):
        found.setdefault(document["kind"], []).append(document)
    return found


def test_selectors_ports_volumes_and_names_of_the_stateful_set_fit_together() -> None:
    found = manifests()
    (state,) = found["StatefulSet"]
    spec, pod = state["spec"], state["spec"]["template"]["spec"]
    labels = state["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget"][0]["spec"]["selector"]["matchLabels"] == labels
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    services = {service["metadata"]["name"]: service["spec"] for service in found["Service"]}
    for service in services.values():
        assert service["selector"] == labels
        assert all(ports[port["targetPort"]] == port["port"] for port in service["ports"])
    headless = services[spec["serviceName"]]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert mounted == volumes | {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in ports
        assert asked["path"] in ("/livez", "/readyz")
    variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert set(variables) <= VARIABLES
    assert variables["KV_LISTEN_PEER"] == f"$(KV_NAME).{spec['serviceName']}:{ports['peer']}"
    assert variables["KV_LISTEN"] == f"$(KV_NAME).{spec['serviceName']}:{ports['http']}"
    assert any(variables["KV_DATA_DIR"].startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"])


def test_each_pod_names_the_others_as_its_peers(tmp_path: Path) -> None:
    (state,) = manifests()["StatefulSet"]
    shell, option, script = state["spec"]["template"]["spec"]["containers"][0]["command"]
    for program, text in (("kv", 'echo "$KV_PEERS" "$@"'), ("getent", "exit 0")):
        (tmp_path / program).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / program).chmod(0o755)
    for number in range(state["spec"]["replicas"]):
        told = subprocess.run(
            [shell, option, script],
            env={"PATH": f"{tmp_path}:/bin:/usr/bin", "KV_NAME": f"kvstore-{number}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        peers = [f"kvstore-{n}=kvstore-{n}.kvstore-peers:8481" for n in range(3) if n != number]
        assert told == [",".join(peers), "serve"]
