"""compose.yaml: valid by the Compose specification, and as careful as it says. Usage: compose.py REPOSITORY"""

import json
import sys
import tomllib
from pathlib import Path

import jsonschema
from ruamel.yaml import YAML

repo = Path(sys.argv[1])
compose = YAML(typ="safe", pure=True).load(repo / "compose.yaml")
problems = []


def expect(holds, what):
    if not holds:
        problems.append(f"compose.yaml: expected: {what}")


# Read from where it is installed: importing its package would need what it depends on.
installed = Path(jsonschema.__file__).parents[1]
schema = json.loads((installed / "check_jsonschema/builtin_schemas/vendor/compose-spec.json").read_text())
for error in jsonschema.Draft202012Validator(schema).iter_errors(compose):
    problems.append(f"compose.yaml: {error.json_path}: {error.message}")

services = compose.get("services", {})
for name, service in services.items():
    image = service.get("image", "")
    expect("build" in service or image.rpartition(":")[2][:1].isalnum() and image.count(":") == 1 and not image.endswith(":latest"),
           f"{name}: the image is pinned by a tag")
    expect(all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name}: ports are published on loopback only")
    expect(service.get("read_only") is True, f"{name}: read_only")
    expect(service.get("cap_drop") == ["ALL"], f"{name}: cap_drop is [ALL]")
    expect("no-new-privileges:true" in service.get("security_opt", []), f"{name}: no-new-privileges")
    for volume in service.get("volumes", []):
        source = str(volume).partition(":")[0]
        expect(not source.startswith(".") or (repo / source).exists(), f"{name}: {source} exists")

engine, mongod = services.get("engine", {}), services.get("mongod", {})
expect(engine.get("environment", {}).get("RPC_URL", "").startswith("${RPC_URL:?"), "engine: RPC_URL is asked for, with a text")
expect(engine.get("stop_grace_period") == "30s", "engine: stop_grace_period is 30s, what a stop may take")
expect(mongod.get("networks") == ["store"] and compose.get("networks", {}).get("store", {}).get("internal") is True,
       "mongod: on the internal network only")

example = (repo / ".env.example").read_text()
expect("\nRPC_URL=\n" in example, ".env.example names RPC_URL, without a value")
prometheus = YAML(typ="safe", pure=True).load(repo / "deploy/prometheus.yml")
targets = [t for job in prometheus.get("scrape_configs", []) for group in job["static_configs"] for t in group["targets"]]
expect(targets == ["engine:9464"], f"deploy/prometheus.yml scrapes the engine's admin listener, not {targets}")
try:
    tomllib.loads((repo / "deploy/swaptide.toml").read_text())
except tomllib.TOMLDecodeError as error:
    problems.append(f"deploy/swaptide.toml: {error}")

if problems:
    sys.exit("\n".join(problems))
