"""What Schemathesis cannot know: which pools, tokens and cursors there are, and what no parameter of OpenAPI can say."""

import atexit
import collections
import json
import os

import schemathesis

with open(os.environ["SWAPTIDE_SAMPLES"]) as file:
    SAMPLES = json.load(file)


def pick(of, seed):
    """One of a list, the same one for the same value."""
    return of[sum(map(ord, str(seed))) % len(of)]


@schemathesis.hook
def map_case(context, case):
    """Three of four valid requests are about what is there: else nearly all of them would end at a 404."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    path, query = case.path_parameters or {}, case.query or {}
    seed = json.dumps([path, query], default=str)
    if sum(map(ord, seed)) % 4 == 0:
        return case
    for name, value in list(path.items()):
        known = SAMPLES["names"].get(case.operation.path, {}).get(name)
        if known:
            path[name] = pick(known, value)
    for name, value in list(query.items()):
        known = SAMPLES["cursors"].get(case.operation.path) if name in ("cursor", "since") else SAMPLES["filters"].get(name)
        if known:
            query[name] = pick(known, value)
    return case


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """OpenAPI cannot say which parameters exclude each other or which of two is larger, nor that a cursor has to come from this server. Only a 400 that says
    exactly this is let pass; and a 503 where the client asked for a state that is newer than there is."""
    if response.status_code == 503 and "maxStateAgeMs" in (case.query or {}):
        return response.json()["code"] != "STATE_STALE"
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 400:
        return True
    query = case.query or {}
    known = SAMPLES["cursors"].get(case.operation.path, [])
    says = response.json()["detail"]
    alone = len({"pool", "token", "origin"} & query.keys()) > 1 and "at most one of" in says
    since = "since" in query and {"cursor", "order"} & query.keys() and "stands alone" in says
    foreign = any(query[name] not in known for name in ("cursor", "since") if name in query) and "cursor" in says.lower()
    inverted = {"from", "to"} <= query.keys() and int(query["from"]) >= int(query["to"]) and "must be before" in says
    ticks = {"from_tick", "to_tick"} <= query.keys() and int(query["from_tick"]) >= int(query["to_tick"]) and "must be below" in says
    nobody = not {"owner", "pool", "token_id"} & query.keys() and "say whose or which" in says
    moments = {"block", "time"} <= query.keys() and "two ways to say a moment" in says
    same = str(query.get("tokenIn")).lower() == str(query.get("tokenOut")).lower() and "are the same token" in says
    return not (alone or since or foreign or inverted or ticks or nobody or moments or same)


SEEN = collections.defaultdict(collections.Counter)


@schemathesis.hook
def after_call(context, case, response):
    if response.request.method == "GET":
        SEEN[case.operation.path][str(response.status_code)] += 1


@atexit.register
def report():
    with open(os.environ["SWAPTIDE_SEEN"], "w") as file:
        json.dump(SEEN, file)
