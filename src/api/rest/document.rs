//! The OpenAPI document: what the handlers say of themselves, and what is true of every answer and is therefore said once, here.
//!
//! Objects are closed and their fields required, because every field is always written and no other is: a test holds each answer to
//! that. Bodies of requests are closed as well, and may leave out what has a default. What is absent: servers (the document is served by the one it is about) and security (everything here is public).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{Ref, RefOr, Response},
};

use super::{
    frame::Frame,
    problem::Problem,
    words::{Freshness, Kind},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Swaptide",
        description = "State, history and metadata of the pools that this server follows.\n\nEvery answer is true at one block: `X-As-Of-Block` \
                       and `X-As-Of-Block-Hash` name it, `X-Freshness` says whether it is as new as it should be. The `ETag` covers the data \
                       and not the block: send it back as `If-None-Match`, and an unchanged answer is a 304 with fresh as-of headers. \
                       Amounts are decimal strings: `…Raw` in raw units, all others in the token's own unit.\n\nA poller asks for `since` \
                       and passes the `cursor` of each answer with the next request; `rollbackTo` says what a reorg took back. `HEAD` is \
                       answered wherever `GET` is.\n\nWhat is \
                       too long for a query string is asked by `POST`, with a JSON body of at most 64 KiB; names that are not known are refused \
                       there, too. Such an answer has the same headers without an `ETag`, and nobody keeps it.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "chain", description = "How new this server is"),
        (name = "pools", description = "Live state, and what happened in it"),
        (name = "tokens", description = "What tokens say of themselves"),
        (name = "quotes", description = "What a swap would pay"),
        (name = "prices", description = "What tokens cost in dollars, and who says so"),
        (name = "events", description = "Swaps, mints and burns, in pages or since a cursor")
    ),
    components(schemas(Problem, Freshness, Kind, Frame))
)]
pub(super) struct Document;

/// What every operation may answer beside its data.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["304", "400", "404", "429", "503"])
    }
}

/// The same where pools may be unable to do what is asked.
pub(super) struct QuoteRefusals;

impl IntoResponses for QuoteRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["304", "400", "404", "422", "429", "503"])
    }
}

/// Of a question with a body.
pub(super) struct BodyRefusals;

impl IntoResponses for BodyRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["400", "404", "413", "415", "422", "429", "503"])
    }
}

/// The same where a cursor names a block: it may be gone.
pub(super) struct CursorRefusals;

impl IntoResponses for CursorRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["304", "400", "404", "410", "429", "503"])
    }
}

/// Of a stream, which has no ETag, and whose cursor is never gone: a ROLLBACK says where it stands.
pub(super) struct StreamRefusals;

impl IntoResponses for StreamRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&["400", "404", "429", "503"])
    }
}

fn references(statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let named = SHARED.iter().filter(|shared| statuses.contains(&shared.status));
    named.map(|shared| (shared.status.to_owned(), RefOr::Ref(Ref::from_response_name(shared.name)))).collect()
}

/// An answer that is no data and that every operation may give.
struct Shared {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    headers: &'static [&'static str],
    /// Title, code and detail of a problem; 304 has no body.
    example: Option<(&'static str, &'static str, &'static str)>,
}

const SHARED: [Shared; 9] = [
    Shared {
        status: "304",
        name: "NotModified",
        description: "Unchanged since the ETag in `If-None-Match`; the headers are of now",
        headers: &AS_OF,
        example: None,
    },
    Shared {
        status: "400",
        name: "BadRequest",
        description: "What is wrong with the request, and what to write",
        headers: &[],
        example: Some(("Bad Request", "BAD_USER_INPUT", "`limit` is 1 to 1000, not 0")),
    },
    Shared {
        status: "404",
        name: "NotFound",
        description: "This chain is not followed, or nothing has this name there",
        headers: &[],
        example: Some(("Not Found", "NOT_FOUND", "chain 5 is not followed here")),
    },
    Shared {
        status: "410",
        name: "Gone",
        description: "A reorg took back the block of the cursor: read again from a page before it, or use `since`",
        headers: &[],
        example: Some(("Gone", "REORGED", "the block of this cursor is not on the chain any more")),
    },
    Shared {
        status: "413",
        name: "PayloadTooLarge",
        description: "The body has more than 64 KiB: ask for less at a time",
        headers: &[],
        example: Some(("Payload Too Large", "BAD_USER_INPUT", "the body is larger than 64 KiB: ask for less at a time")),
    },
    Shared {
        status: "415",
        name: "UnsupportedMediaType",
        description: "The body is not said to be JSON",
        headers: &[],
        example: Some((
            "Unsupported Media Type",
            "BAD_USER_INPUT",
            "send the body as JSON, with `content-type: application/json`",
        )),
    },
    Shared {
        status: "422",
        name: "NoQuote",
        description: "No pools lead from one token to the other, or they have no room for so much: then it says how much would go",
        headers: &[],
        example: Some((
            "Unprocessable Entity",
            "INSUFFICIENT_LIQUIDITY",
            "the pools have no room for so much: an `amount` of about 1000000 would go",
        )),
    },
    Shared {
        status: "429",
        name: "TooManyRequests",
        description: "Too much at once: come back after `Retry-After`",
        headers: &["Retry-After"],
        example: Some(("Too Many Requests", "RATE_LIMITED", "too many requests: try again in 2 s")),
    },
    Shared {
        status: "503",
        name: "Unavailable",
        description: "Not ready yet, or history cannot be read now: come back after `Retry-After`",
        headers: &["Retry-After"],
        example: Some(("Service Unavailable", "UPSTREAM_DOWN", "history cannot be read at the moment: try again")),
    },
];

/// The headers of every answer that has data, or could have.
const AS_OF: [&str; 6] = ["ETag", "X-As-Of-Block", "X-As-Of-Block-Hash", "X-As-Of-Timestamp", "X-Data-Source", "X-Freshness"];

fn headers() -> Value {
    let whole = |example: u64| json!({ "type": "integer", "format": "int64", "minimum": 0, "example": example });
    json!({
        "ETag": {
            "description": "Of the data alone: it stays while blocks arrive that change nothing of it.",
            "required": true, "schema": { "type": "string", "pattern": "^W/\"[0-9a-f]{16}\"$" }
        },
        "Link": {
            "description": "The next page, as `rel=\"next\"`; absent on the last one.",
            "schema": { "type": "string", "pattern": "^</v1/[^>]+>; rel=\"next\"$" }
        },
        "Retry-After": { "description": "Seconds until it is worth another try.", "required": true, "schema": whole(2) },
        "X-As-Of-Block": { "description": "The block that the answer is true at.", "required": true, "schema": whole(23_456_789) },
        "X-As-Of-Block-Hash": {
            "description": "Its hash: a number alone does not survive a reorg.",
            "required": true, "schema": { "type": "string", "pattern": "^0x[0-9a-f]{64}$" }
        },
        "X-As-Of-Timestamp": { "description": "Its time, seconds since 1970.", "required": true, "schema": whole(1_760_000_000) },
        "X-Data-Source": {
            "description": "Where the data was read.",
            "required": true, "schema": { "type": "string", "enum": ["memory", "sqlite", "mongodb"] }
        },
        "X-Freshness": {
            "description": "Whether that block is as new as it should be.",
            "required": true, "schema": { "$ref": "#/components/schemas/Freshness" }
        }
    })
}

/// The whole document, from what the handlers say.
pub(super) fn complete(described: &utoipa::openapi::OpenApi) -> Value {
    let Ok(Value::Object(mut document)) = serde_json::to_value(described) else { return Value::Null };
    let components = document.get_mut("components").and_then(|components| components.get_mut("schemas"));
    let objects = components.and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let (texts, mut schemas): (Map<_, _>, Map<_, _>) = objects.into_iter().partition(|(_, schema)| is_text(schema));
    let asked = asked(&Value::Object(document.clone()), &schemas);
    schemas.iter_mut().for_each(|(name, schema)| close(schema, asked.contains(name)));
    let responses = SHARED.iter().map(|shared| {
        let content = shared.example.map_or_else(Map::new, |(title, code, detail)| {
            let status: u16 = shared.status.parse().unwrap_or_default();
            let example = json!({ "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code });
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            Map::from_iter([("application/problem+json".to_owned(), json!({ "schema": schema, "example": example }))])
        });
        let headers = header_refs(shared.headers);
        (shared.name.to_owned(), json!({ "description": shared.description, "headers": headers, "content": content }))
    });
    let components = json!({
        "schemas": schemas,
        "responses": Value::Object(responses.collect()),
        "headers": headers(),
        "parameters": { "IfNoneMatch": {
            "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The `ETag` of an answer that you have: an unchanged one is a 304 without a body."
        } }
    });
    document.insert("components".to_owned(), components);
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(Map::values_mut) {
        item.get_mut("get").into_iter().for_each(finish_get);
        item.get_mut("post").into_iter().for_each(finish_post);
    }
    let mut document = Value::Object(document);
    inline(&mut document, &texts);
    document
}

fn header_refs(names: &[&str]) -> Value {
    let refs = names.iter().map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    Value::Object(refs.collect())
}

/// Its answer is not kept.
fn finish_post(operation: &mut Value) {
    if let Some(ok) = operation.pointer_mut("/responses/200") {
        let names: Vec<&str> = AS_OF.into_iter().filter(|name| *name != "ETag").collect();
        ok["headers"] = header_refs(&names);
    }
}

/// The headers of its data, and the one that a client may send.
fn finish_get(operation: &mut Value) {
    let Some(ok) = operation.pointer_mut("/responses/200") else { return };
    let Some(schema) = ok.pointer("/content/application~1json/schema/$ref").and_then(Value::as_str) else { return };
    let pages = schema.contains("/Page_") || schema.ends_with("/Events");
    let mut names = AS_OF.to_vec();
    names.extend(pages.then_some("Link"));
    ok["headers"] = header_refs(&names);
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(json!({ "$ref": "#/components/parameters/IfNoneMatch" }));
    }
}

/// One of `text.rs`: a string with a pattern.
fn is_text(schema: &Value) -> bool {
    schema["type"] == "string" && schema.get("pattern").is_some()
}

/// The schemas of what clients write: of bodies, and of what these refer to.
fn asked(document: &Value, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let paths = document["paths"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
    let mut open: Vec<&Value> = paths.flat_map(Map::values).filter_map(|operation| operation.get("requestBody")).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                let name = fields.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/components/schemas/"));
                if let Some(name) = name.filter(|name| names.insert((*name).to_owned())) {
                    open.extend(schemas.get(name));
                }
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    names
}

/// Every field is written, and no other. Of what a client writes it is known which fields it may leave out.
fn close(schema: &mut Value, is_asked: bool) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let names: Vec<String> = properties.keys().cloned().collect();
    if !is_asked {
        schema["required"] = json!(names);
    }
    schema["additionalProperties"] = json!(false);
}

/// Puts the shape of a text where it is used, so that a reader and a generator see a string, and not a reference to one: a field
/// that may be null is a string or null, and not one of two schemas.
fn inline(value: &mut Value, texts: &Map<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| inline(item, texts)),
        Value::Object(fields) => {
            if let Some(Value::Array(options)) = fields.get_mut("oneOf") {
                let other = options.iter().find(|option| option["type"] != "null").cloned().unwrap_or_default();
                let nullable = options.len() == 2 && options.iter().any(|option| option["type"] == "null");
                match shape(&other, texts) {
                    Some(mut text) if nullable => {
                        text.insert("type".to_owned(), json!(["string", "null"]));
                        *fields = text;
                    }
                    // What a field is for stands beside the two schemas, and not in one of them.
                    _ => {
                        let said = options.iter_mut().find_map(|option| option.as_object_mut()?.remove("description"));
                        fields.extend(said.map(|description| ("description".to_owned(), description)));
                    }
                }
            } else if let Some(text) = shape(&Value::Object(fields.clone()), texts) {
                *fields = text;
            }
            fields.values_mut().for_each(|field| inline(field, texts));
        }
        _ => {}
    }
}

/// The text that is referred to, with what the reference says of its own.
fn shape(reference: &Value, texts: &Map<String, Value>) -> Option<Map<String, Value>> {
    let name = reference["$ref"].as_str()?.strip_prefix("#/components/schemas/")?;
    let mut text = texts.get(name)?.as_object()?.clone();
    text.extend(reference.as_object()?.iter().filter(|(key, _)| *key != "$ref").map(|(key, said)| (key.clone(), said.clone())));
    Some(text)
}
