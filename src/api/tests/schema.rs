//! The schema is documented, and it is the one that is written down.

use std::path::Path;

use serde_json::Value;

use super::world::*;

const INTROSPECTION: &str = "
query IntrospectionQuery { __schema { description queryType { name } subscriptionType { name } types { ...FullType }
  directives { name description locations args { ...InputValue } } } }
fragment FullType on __Type { kind name description
  fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
  inputFields { ...InputValue } interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

fn missing(all: &mut Vec<String>, at: &str, thing: &Value) {
    let described = thing["description"].as_str().is_some_and(|d| d.len() > 3);
    if !described {
        all.push(format!("{at}{}", thing["name"].as_str().unwrap_or_default()));
    }
}

#[tokio::test]
async fn everything_in_the_schema_has_a_description() {
    let data = World::new().data(INTROSPECTION).await;
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let mut without = Vec::new();
    for one in list(&data["__schema"]["types"]) {
        let name = one["name"].as_str().unwrap().to_owned();
        // The language's own.
        if name.starts_with("__") || ["Boolean", "Float", "ID", "Int", "String"].contains(&name.as_str()) {
            continue;
        }
        missing(&mut without, "", &one);
        for field in list(&one["fields"]) {
            missing(&mut without, &format!("{name}."), &field);
            for arg in list(&field["args"]) {
                missing(&mut without, &format!("{name}.{}.", field["name"]), &arg);
            }
        }
        for part in list(&one["inputFields"]).iter().chain(&list(&one["enumValues"])) {
            missing(&mut without, &format!("{name}."), part);
        }
    }
    assert_eq!(without, Vec::<String>::new());
    assert!(!data.to_string().contains(r#""name":"Float","#) || !crate::api::sdl().contains("Float"), "no float in the schema");
}

#[test]
fn the_schema_is_the_one_in_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema.graphql");
    let sdl = crate::api::sdl();
    if std::env::var_os("SWAPTIDE_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &sdl).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == sdl,
        "the schema changed: run `SWAPTIDE_UPDATE=1 cargo test the_schema_is_the_one_in_docs` and look at the difference in docs/schema.graphql"
    );
    assert!(!sdl.contains("Float"), "amounts are strings");
}
