"""The queries of a dashboard as a file of rules, which is what promtool can check. Usage: dashboard.py FILE"""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    dashboard = json.load(file)
queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
if not queries:
    sys.exit(f"{sys.argv[1]}: no query was found")
# Grafana puts the values in; $chain stands inside a string already.
rules = [{"record": f"query_{i}", "expr": query.replace("$__rate_interval", "1m")} for i, query in enumerate(queries)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
