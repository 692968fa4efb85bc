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
    body = case.body if isinstance(case.body, dict) else {}
    seed = json.dumps([path, query, body], default=str)
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
    for part in parts(body):
        fill(part)
    for part in [query, *parts(body)]:
        # Nearly every random one is over, or asks for a state that is newer than there is.
        for name, value in [("deadline", 4_102_444_800), ("maxStateAgeMs", 10**15)]:
            if name in part:
                part[name] = value
    return case


def parts(body):
    """The swaps of a body: itself, or those in its list."""
    return [part for part in body.get("inputs", body.get("steps", [body])) if isinstance(part, dict)]


def fill(swap):
    """With what is there; of a step, with a token of its pool."""
    for name, value in list(swap.items()):
        known = list(SAMPLES["sides"]) if name == "pool" else SAMPLES["filters"].get(name)
        if known and name != "tokenIn":
            swap[name] = pick(known, value)
    if "tokenIn" in swap:
        sides = SAMPLES["sides"].get(swap.get("pool"), SAMPLES["filters"]["tokenIn"])
        swap["tokenIn"] = pick(sides, swap["tokenIn"])


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """OpenAPI cannot say which parameters exclude each other or which of two is larger, nor that a cursor has to come from this server. Only a 400 that says
    exactly this is let pass; and a 503 where the client asked for a state that is newer than there is."""
    swaps = parts(case.body) if isinstance(case.body, dict) else []
    if response.status_code == 503 and any("maxStateAgeMs" in part for part in [case.query or {}, *swaps]):
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
    same = any(str(part.get("tokenIn")).lower() == str(part.get("tokenOut")).lower() for part in [query, *swaps]) and "are the same token" in says
    steps = "steps" in (case.body if isinstance(case.body, dict) else {}) and any(
        reason in says for reason in ("does not trade that token", "for so little nothing comes out", "`sqrtPriceLimitX96` is of V3", "beyond what the contract computes with")
    )
    asked = [query, *swaps]
    late = any("deadline" in part for part in asked) and "is over: it is" in says
    lost = any(int(str(part.get("recipient") or 1), 0) == 0 for part in asked) and "would be lost" in says
    return not (alone or since or foreign or inverted or ticks or nobody or moments or same or steps or late or lost)


SEEN = collections.defaultdict(collections.Counter)


@schemathesis.hook
def after_call(context, case, response):
    if response.request.method in ("GET", "POST"):
        SEEN[f"{response.request.method} {case.operation.path}"][str(response.status_code)] += 1


@atexit.register
def report():
    with open(os.environ["SWAPTIDE_SEEN"], "w") as file:
        json.dump(SEEN, file)
