"""What tests/observability/run runs. One argument: promtool, or nothing. The last line is as cargo's."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

HERE = pathlib.Path("examples/observability")
BOARD = HERE / "grafana/dashboards/laterna.json"
RULES = HERE / "rules.yml"
CASES = pathlib.Path("tests/observability/rules.test.yml")
METRICS = pathlib.Path("engine/src/http/metrics.rs").read_text()

# What Prometheus itself adds.
OWN_METRICS = {"up", "ALERTS"}
OWN_LABELS = {"job", "instance", "le", "alertname", "alertstate"}

promtool = sys.argv[1] if len(sys.argv) > 1 else ""
tests = []


def test(function):
    tests.append(function)
    return function


def tool(*arguments):
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def array(name):
    """The texts in one of the source's constant arrays."""
    found = re.search(rf"const {name}:[^=]*=\s*\[(.*?)\];", METRICS, re.S)
    assert found, f"metrics.rs has no array {name}: this test reads it"
    return re.findall(r'"([^"]*)"', found[1])


def exposed():
    """Every name of a series in /metrics, as OpenMetrics makes it from its kind."""
    def by(call):
        return set(re.findall(rf'\b{call}\(\s*(?:&mut )?encoder,\s*"([a-z_]+)"', METRICS))

    everything = set(re.findall(r'"((?:laterna|kafka_consumergroup)_[a-z_]+)"', METRICS))
    counters = by("counters") | {name for name in array("COUNTS") if name.startswith("laterna_")}
    infos, histograms = by("info"), by("histogram")
    assert counters and infos and histograms, "metrics.rs is written in another way than this test reads"
    names = everything - counters - infos - histograms
    names |= {f"{name}_total" for name in counters} | {f"{name}_info" for name in infos}
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}


def labels():
    """Every label that the source writes."""
    written = re.findall(r'\(\s*"([a-z_0-9]+)",\s*[a-zA-Z(*&]', METRICS) + re.findall(r'by_label\(projections, "([a-z]+)"', METRICS)
    assert {"projection", "topic", "partition", "state", "code", "kind"} <= set(written), written
    return set(written)


def board():
    return json.loads(BOARD.read_text())


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def board_queries():
    """From a name to what the board asks under it, its variables filled in."""
    asked = {f"{panel['title']} {query['refId']}": query["expr"] for panel in board()["panels"] for query in panel["targets"]}
    asked |= {f"annotation {one['name']}": one["expr"] for one in board()["annotations"]["list"]}
    fill = {"$__rate_interval": "5m", "$projection": ".*"}
    for name, expression in asked.items():
        for variable, value in fill.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression, f"{name}: a variable that this test does not know: {expression}"
        asked[name] = expression
    return asked


def queries():
    return board_queries() | {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}


def words(expression):
    """The names in an expression, without texts; and the names in its braces and label lists."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    inside = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for listed in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare):
        inside |= {label.strip() for label in listed.split(",") if label.strip()}
    return inside


@test
def yaml_and_json_parse():
    for path in [*HERE.rglob("*.yml"), CASES, pathlib.Path("docker-compose.yml")]:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path
    assert board()["panels"]


@test
def every_metric_is_one_that_the_engine_shows():
    known = exposed() | {rule["record"] for rule in rules() if "record" in rule} | OWN_METRICS
    variables = [one["definition"] for one in board()["templating"]["list"] if one["type"] == "query"]
    for name, expression in queries().items() | {("variable", one) for one in variables}:
        bare = re.sub(r'"[^"]*"', '""', expression)
        used = set(re.findall(r"\b(?:[a-z_]+:)?(?:laterna|kafka)_[a-z_]+(?::[a-z_]+)?|\bup\b|\bALERTS\b", bare))
        assert used, f"{name} asks for no metric: {expression}"
        assert used <= known, f"{name}: {sorted(used - known)} are not in metrics.rs"


@test
def every_label_and_state_is_one_that_the_engine_shows():
    known = labels() | OWN_LABELS
    states = set(array("STATES")) | set(array("REBUILD_STATES"))
    for name, expression in queries().items():
        used = words(expression)
        assert used <= known, f"{name}: the labels {sorted(used - known)} are not in metrics.rs"
        for listed in re.findall(r'\bstate=~?"([^"]*)"', expression):
            assert set(listed.split("|")) <= states, f"{name}: {listed}"
    shown = [label for panel in board()["panels"] for query in panel["targets"] for label in re.findall(r"{{([a-z_]+)}}", query.get("legendFormat", ""))]
    assert set(shown) <= known, shown


@test
def the_timeline_knows_every_state():
    (panel,) = [panel for panel in board()["panels"] if panel["type"] == "state-timeline"]
    asked = {name: number for number, name in re.findall(r'(\d+) \* laterna_projection_state{[^}]*state="([a-z-]+)"', panel["targets"][0]["expr"])}
    assert set(asked) == set(array("STATES")), asked
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert {shown["text"]: number for number, shown in mapping["options"].items()} == asked


@test
def every_alert_has_its_words_and_its_cases():
    cases = [case["alertname"] for one in yaml.safe_load(CASES.read_text())["tests"] for case in one["alert_rule_test"] if case["exp_alerts"]]
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical") and {"summary", "description"} <= set(rule["annotations"]), rule
            assert rule["alert"] in cases, f"{rule['alert']} fires in no case of {CASES}"


@test
def compose_mounts_what_is_there():
    compose = yaml.safe_load(pathlib.Path("docker-compose.yml").read_text())
    services = compose["services"]
    assert {name for name, service in services.items() if service.get("profiles")} == {"prometheus", "grafana"}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert pathlib.Path(source).exists() if source.startswith(".") else source in compose["volumes"], f"{name}: {volume}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name} is published beyond this machine"
    config = yaml.safe_load((HERE / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["authorization"]["credentials_file"] == services["prometheus"]["configs"][0]["target"]
    assert job["static_configs"][0]["targets"] == ["laterna:8484"] and job["job_name"] == "laterna"
    (source,) = yaml.safe_load((HERE / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def promtool_takes_configuration_and_rules():
    tool("check", "config", "--syntax-only", str(HERE / "prometheus.yml"))
    tool("check", "rules", str(RULES))


def promtool_reads_every_query_of_the_board():
    group = {"name": "board", "rules": [{"record": f"q{at}", "expr": expression} for at, expression in enumerate(board_queries().values())]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [group]}, file)
        file.flush()
        tool("check", "rules", file.name)


def promtool_sees_every_alert_fire_where_it_should():
    tool("test", "rules", str(CASES))


if promtool:
    tests += [promtool_takes_configuration_and_rules, promtool_reads_every_query_of_the_board, promtool_sees_every_alert_fire_where_it_should]

failed = 0
for one in tests:
    try:
        one()
        print(f"test {one.__name__} ... ok")
    except Exception as error:  # noqa: BLE001: each test is told of, whatever it dies of
        failed += 1
        print(f"test {one.__name__} ... FAILED\n{type(error).__name__}: {error}")
print(f"test result: {'FAILED' if failed else 'ok'}. {len(tests) - failed} passed; {failed} failed")
sys.exit(1 if failed else 0)
