"""What helm rendered: valid for that Kubernetes, and what the binary and its image need.

Usage: helm template … | rendered.py REPOSITORY KUBERNETES_VERSION NAME
"""

import json
import posixpath
import re
import sys
import tomllib
from pathlib import Path

import jsonschema
from ruamel.yaml import YAML

repo, kubernetes, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
yaml = YAML(typ="safe", pure=True)
yaml.version = (1, 1)  # as Kubernetes reads it: `on` is a boolean
objects = [o for o in yaml.load_all(sys.stdin.read()) if o]
problems = []


def expect(holds, what):
    if not holds:
        problems.append(f"{name}: expected: {what}")


# Strict: a key that Kubernetes does not know is refused. Read from where it is installed, as importing its package needs more packages.
schemas = Path(jsonschema.__file__).parents[1] / f"kubernetes_validate/kubernetes-json-schema/v{kubernetes}-local-strict"
definitions = json.loads((schemas / "_definitions.json").read_text())
for item in objects:
    group = re.sub(r"^([^./]*)[^/]*/", r"\1-", item["apiVersion"])
    schema = json.loads((schemas / f"{item['kind'].lower()}-{group}.json").read_text())
    # By its name, so that nothing is fetched.
    resolver = jsonschema.RefResolver(schema["$id"], schema, store={definitions["$id"]: definitions})
    for error in jsonschema.Draft7Validator(schema, resolver=resolver).iter_errors(item):
        problems.append(f"{name}: {item['kind']} {item['metadata']['name']}: {error.json_path}: {error.message}")
if problems:
    sys.exit("\n".join(problems))


def named(kind, wanted):
    return next((o for o in objects if o["kind"] == kind and o["metadata"]["name"] == wanted), None)


def file_keys(value):
    """What each `…_file` of the configuration names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key.endswith("_file") else file_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from file_keys(inner)


dockerfile = (repo / "Dockerfile").read_text()
routes = set(re.findall(r'\.route\("([^"]+)", get\(admin::', (repo / "src/api/router.rs").read_text()))
expect(routes >= {"/health", "/ready", "/metrics"}, f"the admin routes are in src/api/router.rs; found {sorted(routes)}")

[deployment] = [o for o in objects if o["kind"] == "Deployment"]
spec, template = deployment["spec"], deployment["spec"]["template"]
pod, labels = template["spec"], template["metadata"]["labels"]
[container] = pod["containers"]

file_of_one = any(o["kind"] == "PersistentVolumeClaim" for o in objects)
if file_of_one:
    expect(spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}, "a SQLite file never has two processes")
else:
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    expect(spec["replicas"] >= 1 and spec["strategy"] == surge, "the next one is ready before one of before stops")
expect(spec["selector"]["matchLabels"].items() <= labels.items(), "the deployment selects its pods")
expect("checksum/config" in template["metadata"].get("annotations", {}), "a new configuration makes a new pod")
expect(pod["terminationGracePeriodSeconds"] >= 30, "a stop may take 30 s")

# The listeners: the binary's environment, the image's, the container's ports.
env = {e["name"]: e.get("value") for e in container["env"]}
ports = {p["name"]: p["containerPort"] for p in container["ports"]}
expect(set(ports) == {"api", "admin"}, f"the ports are api and admin, not {sorted(ports)}")
for port, number in ports.items():
    variable = f"SWAPTIDE__{port.upper()}__LISTEN"
    expect(env.get(variable) == f"0.0.0.0:{number}", f"{variable} is 0.0.0.0:{number}, as the container's port")
    expect(f"{variable}=0.0.0.0:{number}" in dockerfile, f"{variable} is 0.0.0.0:{number} in the Dockerfile as well")
for probe, path in [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]:
    asks = container.get(probe, {}).get("httpGet", {})
    expect(asks.get("path") == path and path in routes, f"{probe} asks {path}, a route of the binary; not {asks.get('path')}")
    expect(ports.get(asks.get("port"), asks.get("port")) == ports.get("admin"), f"{probe} asks the admin port")

# The configuration: mounted where the command reads it, and each secret that it names is mounted too.
command, _, config_file = container["args"]
mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
volumes = {v["name"]: v for v in pod["volumes"]}
folder, file = posixpath.split(config_file)
expect(command == "run", "the command is run")
config_map = named("ConfigMap", volumes.get(mounts.get(folder), {}).get("configMap", {}).get("name"))
if config_map and file in config_map["data"]:
    try:
        config = tomllib.loads(config_map["data"][file])
    except tomllib.TOMLDecodeError as error:
        sys.exit(f"{name}: {file}: {error}")
    for path in file_keys(config):
        expect("secret" in volumes.get(mounts.get(posixpath.dirname(path)), {}), f"{path} lies in a mounted Secret")
    sqlite = config["store"].get("url", "").startswith("sqlite:")
    expect(not sqlite or "persistentVolumeClaim" in volumes[mounts["/data"]], "SQLite lies on a volume that stays")
else:
    expect(False, f"{config_file} is mounted from a ConfigMap of the chart")

# Rights.
user = re.search(r"^USER (\d+):\1$", dockerfile, re.M)
context, own = pod["securityContext"], container["securityContext"]
expect(user and context["runAsUser"] == int(user[1]), "runs as the image's user")
expect(context["runAsNonRoot"] is True and context["seccompProfile"] == {"type": "RuntimeDefault"}, "not root, default seccomp")
expect(own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
       "no privileges, nothing to write on but /data")
expect(pod.get("automountServiceAccountToken") is False, "no token of Kubernetes")
account = pod["serviceAccountName"]
expect(account == "default" or named("ServiceAccount", account), f"the service account {account} is there")

# The services: the public one leads to the public listener only, the operator's stays inside.
services = [o for o in objects if o["kind"] == "Service"]
expect(len(services) == 2, "two services")
for service in services:
    expect(service["spec"]["selector"].items() <= labels.items(), f"{service['metadata']['name']} selects the pods")
    targets = {p["targetPort"] for p in service["spec"]["ports"]}
    wanted = {"admin"} if service["metadata"]["name"].endswith("-admin") else {"api"}
    expect(targets == wanted and targets <= set(ports), f"{service['metadata']['name']} leads to {wanted}, not {targets}")
    expect(targets == {"api"} or service["spec"]["type"] == "ClusterIP", "the admin listener stays inside the cluster")

if problems:
    sys.exit("\n".join(problems))
