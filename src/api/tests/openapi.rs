//! The OpenAPI document is true: each answer that a test sees is what the document says it can be, and nothing else.

use std::{collections::BTreeSet, sync::LazyLock};

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::api::openapi;

/// What came back for a request.
pub(super) struct Answer<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// Null where there was none.
    pub(super) body: &'a Value,
}

pub(super) fn served() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&openapi()).unwrap());
    &DOCUMENT
}

/// Headers of HTTP itself and of every answer of this server, whatever it is about.
const EVERYWHERE: [&str; 9] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "vary",
    "x-request-id",
];

/// Everything about an answer that is not as the document has it.
pub(super) fn check(document: &Value, answer: &Answer<'_>) -> Result<(), Vec<String>> {
    let path = answer.path.split('?').next().unwrap();
    let Some((_, item)) = document["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template, path)) else {
        // What the document does not name is not there.
        return if answer.status == StatusCode::NOT_FOUND || path == "/openapi.json" {
            Ok(())
        } else {
            Err(vec![format!("{path} is not in it")])
        };
    };
    let method = answer.method.to_ascii_lowercase();
    // Whoever answers GET answers HEAD; a method that is not in the document is refused.
    let Some(operation) = item.get(if method == "head" { "get" } else { &method }) else {
        return refusal(document, answer, StatusCode::METHOD_NOT_ALLOWED);
    };
    let Some(response) = operation["responses"].get(answer.status.as_str()) else {
        return Err(vec![format!("status {} is not in it", answer.status)]);
    };
    let response = follow(document, response);
    let mut problems = headers(document, response, answer.headers);
    let content = response["content"].as_object().filter(|content| !content.is_empty());
    let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap());
    match (content, kind) {
        (None, None) if answer.body.is_null() => {}
        (Some(content), Some(kind)) if content.contains_key(kind) => {
            if method != "head" {
                problems.extend(against(document, &content[kind]["schema"], answer.body));
            }
        }
        (content, kind) => {
            problems.push(format!("content {kind:?}, and the document has {:?}", content.map(serde_json::Map::keys)))
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(path).all(|(part, found)| part.starts_with('{') || *part == found)
}

/// A refusal that is not a response of any operation.
fn refusal(document: &Value, answer: &Answer<'_>, expected: StatusCode) -> Result<(), Vec<String>> {
    // Whoever asks with HEAD gets no body, and the same status and headers.
    let mut problems = match (answer.method, answer.body) {
        ("HEAD", Value::Null) => Vec::new(),
        (_, body) => against(document, &document["components"]["schemas"]["Problem"], body),
    };
    if answer.status != expected {
        problems.push(format!("{} instead of {expected}", answer.status));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// What a `$ref` means.
fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} is nowhere")),
        None => value,
    }
}

fn headers(document: &Value, response: &Value, found: &HeaderMap) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<String> = EVERYWHERE.iter().map(ToString::to_string).collect();
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        known.insert(name.to_ascii_lowercase());
        let header = follow(document, header);
        let Some(value) = found.get(name).map(|value| value.to_str().unwrap()) else {
            if header["required"] == true {
                problems.push(format!("header {name} is missing"));
            }
            continue;
        };
        // A header is a text: what it means depends on its schema.
        let value = if header["schema"]["type"] == "integer" {
            serde_json::from_str(value).unwrap_or(json!(value))
        } else {
            json!(value)
        };
        problems
            .extend(against(document, &header["schema"], &value).into_iter().map(|problem| format!("header {name}: {problem}")));
    }
    problems.extend(found.keys().filter(|name| !known.contains(name.as_str())).map(|name| format!("header {name} is not in it")));
    problems
}

/// What is wrong with a value by a schema of the document. OpenAPI 3.1's schemas are JSON Schema 2020-12.
pub(super) fn against(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    let whole = json!({ "$schema": dialect, "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).unwrap_or_else(|e| panic!("{schema}: {e}"));
    validator.iter_errors(value).map(|error| format!("{} {error}", error.instance_path())).collect()
}

/// What is wrong with what a client writes to a path.
pub(super) fn asked(path: &str, body: &Value) -> Vec<String> {
    let document = served();
    let paths = document["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(template, _)| fits(template, path)).unwrap();
    against(document, &item["post"]["requestBody"]["content"]["application/json"]["schema"], body)
}

/// Path, method and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, said)| (path, method, said)))
}

/// Names of schemas that these values refer to, and that those refer to.
fn reached<'a>(document: &'a Value, from: impl Iterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    let (mut open, mut names) = (from.collect::<Vec<_>>(), BTreeSet::new());
    while let Some(value) = open.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            let is_new = reference.strip_prefix("#/components/schemas/").is_none_or(|name| names.insert(name));
            open.extend(is_new.then(|| follow(document, value)));
        }
        open.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        open.extend(value.as_array().into_iter().flatten());
    }
    names
}

#[test]
fn the_document_is_openapi_3_1_and_every_operation_explains_itself() {
    let document = served();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14, "{:?}", paths.keys());
    let tags: Vec<&str> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        assert!(["get", "post"].contains(&method.as_str()), "{method} {path}");
        for text in ["summary", "description", "operationId"] {
            assert!(operation[text].as_str().is_some_and(|text| text.len() > 3), "{path} has no {text}");
        }
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}: its operationId is taken");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag.as_str().unwrap())), "{path}");
        for parameter in operation["parameters"].as_array().unwrap() {
            let parameter = follow(document, parameter);
            assert!(parameter["description"].is_string(), "{path}: {parameter}");
            let example = parameter.get("example").unwrap_or(&parameter["schema"]["example"]);
            if parameter["in"] == "path" {
                assert!(!example.is_null(), "{path}: {parameter}");
            }
        }
        // What is written is described, and shown; what is read has no body.
        let body = &operation["requestBody"];
        assert_eq!(body.is_null(), method == "get", "{method} {path}");
        if method == "post" {
            assert!(body["required"] == true && body["description"].is_string(), "{path}: {body}");
            let contents = body["content"].as_object().unwrap();
            assert_eq!(contents.keys().collect::<Vec<_>>(), ["application/json"], "{path}");
            let content = &contents["application/json"];
            assert!(content["schema"]["$ref"].is_string(), "{path}: {content}");
            assert_eq!(against(document, &content["schema"], &content["example"]), Vec::<String>::new(), "{path}");
            assert!(["400", "413", "415"].iter().all(|status| !operation["responses"][status].is_null()), "{path}");
        }
    }
}

#[test]
fn every_object_is_closed_says_what_its_fields_are_and_its_examples_fit() {
    let document = served();
    // Generators make a string of this that may be null, and no class of its own.
    let liquidity = &document["components"]["schemas"]["Pool"]["properties"]["liquidity"];
    assert_eq!((&liquidity["type"], liquidity["pattern"].is_string()), (&json!(["string", "null"]), true), "{liquidity}");
    let written = reached(document, operations(document).map(|(.., said)| &said["requestBody"]));
    let read = reached(document, operations(document).map(|(.., said)| &said["responses"]));
    assert!(["QuoteRequest", "QuotesRequest", "StepRequest", "SimulationRequest"].iter().all(|name| written.contains(name)));
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string() || name.starts_with("Page_"), "{name} has no description");
        let Some(properties) = schema["properties"].as_object() else { continue };
        assert_eq!(schema["additionalProperties"], false, "{name}");
        let required: BTreeSet<_> = schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        if written.contains(name.as_str()) {
            // No object is both: one that may leave out a field is no answer.
            assert!(!read.contains(name.as_str()), "{name}");
            for (field, property) in properties {
                // Whatever may be left out may be null, and nothing else may.
                let nullable = against(document, property, &Value::Null).is_empty();
                assert_eq!(required.contains(field.as_str()), !nullable, "{name}.{field}");
            }
        } else {
            assert_eq!(required, properties.keys().map(String::as_str).collect(), "{name}");
        }
        for (field, property) in properties {
            if let Some(example) = property.get("example") {
                assert_eq!(against(document, property, example), Vec::<String>::new(), "{name}.{field}");
            }
        }
    }
}

#[test]
fn every_problem_has_an_example_that_is_one() {
    let document = served();
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let Some(content) = response.pointer("/content/application~1problem+json") else { continue };
        assert_eq!(against(document, &content["schema"], &content["example"]), Vec::<String>::new(), "{name}");
    }
}

/// What would be wrong if the document were another one, for one and the same answer.
#[test]
fn an_answer_that_the_document_does_not_describe_is_found_out() {
    let path = "/v1/31337/_meta";
    let block = json!({ "number": 7, "hash": format!("0x{}", "a".repeat(64)), "timestamp": 1 });
    let body = json!({
        "chainId": 31_337, "name": "local", "block": block, "freshness": "LIVE", "atHead": true, "safeBlock": 5,
        "finalizedBlock": 0, "durableBlock": 7, "pools": 3
    });
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("etag", "W/\"0123456789abcdef\""),
        ("x-as-of-block", "7"),
        ("x-as-of-block-hash", block["hash"].as_str().unwrap()),
        ("x-as-of-timestamp", "1"),
        ("x-data-source", "memory"),
        ("x-freshness", "LIVE"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let answer = Answer { method: "GET", path, status: StatusCode::OK, headers: &headers, body: &body };
    assert_eq!(check(served(), &answer), Ok(()));

    let operation = "/paths/~1v1~1{chainId}~1_meta/get";
    let of_chain = |rest: &str| format!("/components/schemas/Chain{rest}");
    for (place, value, says) in [
        ("/paths/~1v1~1{chainId}~1_meta".to_owned(), json!({}), "405"),
        (format!("{operation}/responses/200"), Value::Null, "content"),
        (format!("{operation}/responses/200/content"), json!({ "text/plain": {} }), "content"),
        (format!("{operation}/responses/200/headers"), json!({}), "header etag is not in it"),
        ("/components/headers/X-Freshness/schema".to_owned(), json!({ "enum": ["STALE"] }), "X-Freshness"),
        ("/components/headers/X-As-Of-Block/schema/minimum".to_owned(), json!(8), "X-As-Of-Block"),
        ("/components/headers/ETag/schema/pattern".to_owned(), json!("^\"$"), "ETag"),
        (of_chain("/properties"), json!({ "chainId": {} }), "Additional properties"),
        (of_chain("/required/0"), json!("nothing"), "required"),
        (of_chain("/properties/freshness"), json!({ "enum": ["STALE"] }), "/freshness"),
        (of_chain("/properties/pools/type"), json!("string"), "/pools"),
        (of_chain("/properties/pools/minimum"), json!(4), "/pools"),
        (of_chain("/properties/block"), json!({ "type": "null" }), "/block"),
        ("/components/schemas/Block/properties/hash/pattern".to_owned(), json!("^0x$"), "/block"),
    ] {
        let mut other = served().clone();
        *other.pointer_mut(&place).unwrap_or_else(|| panic!("{place} is nowhere")) = value;
        let problems = check(&other, &answer).expect_err(&place);
        assert!(problems.iter().any(|problem| problem.contains(says)), "{place}: {problems:?}");
    }
    // And the other way round: another answer for the one document.
    let found = |status: StatusCode, change: &dyn Fn(&mut Value), headers: &HeaderMap| {
        let mut body = body.clone();
        change(&mut body);
        check(served(), &Answer { status, headers, body: &body, ..answer }).expect_err("it is found out").join("; ")
    };
    let same = |_: &mut Value| ();
    assert!(found(StatusCode::CREATED, &same, &headers).contains("status 201"));
    assert!(found(StatusCode::OK, &|body| body["more"] = json!(1), &headers).contains("more"));
    assert!(found(StatusCode::OK, &|body| body["name"] = Value::Null, &headers).contains("/name"));
    assert!(found(StatusCode::OK, &|body| drop(body.as_object_mut().unwrap().remove("pools")), &headers).contains("pools"));
    for name in ["etag", "x-freshness", "content-type"] {
        let mut fewer = headers.clone();
        fewer.remove(name);
        found(StatusCode::OK, &same, &fewer);
    }
    let mut more = headers.clone();
    more.insert("x-more", "1".parse().unwrap());
    assert!(found(StatusCode::OK, &same, &more).contains("x-more"));
}
