//! What a document asks for, whoever sends it: identical subscriptions are told by it.
//!
//! Two subscriptions are the same if their documents are, without white space, comments and the order of their definitions, and their
//! variables are. Where one begins (`resumeFrom`, `since`) is left out of it, with the variables that only say that.

use std::collections::BTreeSet;

use async_graphql::{
    Name, Request, Variables,
    parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet},
};
use async_graphql_value::Value as Argument;
use serde_json::Value;

use super::{
    error::{ApiError, Code},
    limits,
};

/// Arguments of a subscription that say where it begins.
const STARTS: [&str; 2] = ["resumeFrom", "since"];

/// A document within the limits, and which of its operations is meant.
pub(crate) struct Document {
    pub(crate) parsed: ExecutableDocument,
    pub(crate) kind: OperationType,
}

impl Document {
    /// # Errors
    /// Too large, no GraphQL, or no such operation.
    pub(crate) fn new(query: &str, operation: Option<&str>) -> Result<Self, ApiError> {
        limits::check_text(query)?;
        let parsed = async_graphql::parser::parse_query(query).map_err(|error| ApiError::input(error.to_string()))?;
        limits::check_document(&parsed)?;
        let mut named =
            parsed.operations.iter().filter(|(name, _)| operation.is_none_or(|o| name.is_none_or(|n| n.as_str() == o)));
        let kind = match (named.next(), named.next()) {
            (Some((_, one)), None) => one.node.ty,
            (None, _) => return Err(ApiError::input("there is no operation of that name in the document")),
            (Some(_), Some(_)) => {
                return Err(ApiError::input("the document has several operations: say which one with `operationName`"));
            }
        };
        Ok(Self { parsed, kind })
    }
}

/// A subscription as all who have the same one share it.
pub(crate) struct Shared {
    /// Equal for equal ones.
    pub(crate) key: String,
    /// Without where it begins.
    document: ExecutableDocument,
    operation: Option<String>,
    variables: Variables,
    /// It says where it begins.
    pub(crate) starts: bool,
}

impl Shared {
    /// `class` is what whoever asks may get.
    ///
    /// # Errors
    /// Where it is about anything else than one field.
    pub(crate) fn new(
        mut document: ExecutableDocument,
        operation: Option<String>,
        mut variables: Variables,
        class: &str,
    ) -> Result<Self, ApiError> {
        let mut starts = false;
        let mut dropped: BTreeSet<Name> = BTreeSet::new();
        for (name, definition) in operations(&mut document) {
            if operation.as_deref().is_some_and(|o| name.as_ref().is_some_and(|n| n.as_str() != o)) {
                continue;
            }
            let defaults: Vec<(Name, async_graphql::Value)> = definition
                .variable_definitions
                .iter()
                .filter_map(|variable| {
                    Some((variable.node.name.node.clone(), variable.node.default_value.as_ref()?.node.clone()))
                })
                .collect();
            let field = only_field(definition)?;
            for argument in STARTS {
                let Some(at) = field.arguments.iter().position(|(name, _)| name.node.as_str() == argument) else { continue };
                let (_, value) = field.arguments.remove(at);
                let given = value.node.clone().into_const_with(|name| {
                    let default = defaults.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone());
                    Ok::<_, ()>(variables.get(&name).cloned().or(default).unwrap_or_default())
                });
                starts |= given.is_ok_and(|given| given != async_graphql::Value::Null);
                names(&value.node, &mut dropped);
            }
        }
        let used = used(&document);
        dropped.retain(|name| !used.contains(name));
        for (_, definition) in operations(&mut document) {
            definition.variable_definitions.retain(|variable| !dropped.contains(&variable.node.name.node));
        }
        dropped.iter().for_each(|name| drop(variables.remove(name)));
        let plain = serde_json::to_value(&document).map(without_places);
        let shape = plain.and_then(|plain| serde_json::to_string(&(class, plain, &operation, &variables)));
        let key = shape.map_err(|error| ApiError::new(Code::BadUserInput, error.to_string()))?;
        Ok(Self { key, document, operation, variables, starts })
    }

    pub(crate) fn request(&self) -> Request {
        let mut request = Request::new(String::new()).variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation);
        request.set_parsed_query(self.document.clone());
        request
    }
}

fn operations(document: &mut ExecutableDocument) -> Vec<(Option<Name>, &mut OperationDefinition)> {
    use async_graphql::parser::types::DocumentOperations;
    match &mut document.operations {
        DocumentOperations::Single(one) => vec![(None, &mut one.node)],
        DocumentOperations::Multiple(many) => many.iter_mut().map(|(name, one)| (Some(name.clone()), &mut one.node)).collect(),
    }
}

/// A subscription has exactly one field at its root, by the specification; fragments there are left to queries.
fn only_field(definition: &mut OperationDefinition) -> Result<&mut Field, ApiError> {
    match definition.selection_set.node.items.as_mut_slice() {
        [one] => match &mut one.node {
            Selection::Field(field) if field.node.directives.is_empty() => Ok(&mut field.node),
            _ => {
                Err(ApiError::input("a subscription selects one field: write it out, without fragments and directives around it"))
            }
        },
        _ => Err(ApiError::input("a subscription selects exactly one field: subscribe once for each")),
    }
}

/// Variables in a value.
fn names(value: &Argument, found: &mut BTreeSet<Name>) {
    match value {
        Argument::Variable(name) => drop(found.insert(name.clone())),
        Argument::List(all) => all.iter().for_each(|one| names(one, found)),
        Argument::Object(all) => all.values().for_each(|one| names(one, found)),
        _ => {}
    }
}

/// Variables that a document uses anywhere.
fn used(document: &ExecutableDocument) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    for (_, operation) in document.operations.iter() {
        operation.node.directives.iter().flat_map(|d| &d.node.arguments).for_each(|(_, value)| names(&value.node, &mut found));
        used_in(&operation.node.selection_set.node, &mut found);
    }
    for fragment in document.fragments.values() {
        fragment.node.directives.iter().flat_map(|d| &d.node.arguments).for_each(|(_, value)| names(&value.node, &mut found));
        used_in(&fragment.node.selection_set.node, &mut found);
    }
    found
}

fn used_in(set: &SelectionSet, found: &mut BTreeSet<Name>) {
    for item in &set.items {
        item.node.directives().iter().flat_map(|d| &d.node.arguments).for_each(|(_, value)| names(&value.node, found));
        match &item.node {
            Selection::Field(field) => {
                field.node.arguments.iter().for_each(|(_, value)| names(&value.node, found));
                used_in(&field.node.selection_set.node, found);
            }
            Selection::InlineFragment(inline) => used_in(&inline.node.selection_set.node, found),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// Only such an object is one; an argument that looks like it is of no input of ours.
fn is_place(value: &Value) -> bool {
    let Value::Object(place) = value else { return false };
    place.len() == 2 && ["line", "column"].iter().all(|name| place.get(*name).is_some_and(Value::is_u64))
}

/// Where something stands in the text does not matter.
fn without_places(value: Value) -> Value {
    match value {
        Value::Object(mut map) if map.len() == 2 && map.contains_key("node") && map.get("pos").is_some_and(is_place) => {
            match map.remove("node") {
                Some(node) => without_places(node),
                None => Value::Object(map),
            }
        }
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, without_places(value))).collect()),
        Value::Array(all) => Value::Array(all.into_iter().map(without_places).collect()),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shared(query: &str, variables: Value) -> Shared {
        let document = Document::new(query, None).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        assert_eq!(document.kind, OperationType::Subscription);
        Shared::new(document.parsed, None, Variables::from_json(variables), "")
            .unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    #[test]
    fn equal_subscriptions_have_equal_keys_wherever_they_begin() {
        let plain = shared("subscription { blocks { seq ...A ...B } } fragment A on X { a } fragment B on X { b }", json!({}));
        for (query, variables, starts) in [
            ("subscription{blocks{seq,...A,...B}}\nfragment B on X{b}#c\nfragment A on X{a}", json!({}), false),
            (
                "subscription { blocks(resumeFrom: \"x\") { seq ...A ...B } } fragment A on X { a } fragment B on X { b }",
                json!({}),
                true,
            ),
            (
                "subscription($c: Cursor) { blocks(resumeFrom: $c) { seq ...A ...B } } fragment A on X { a } fragment B on X { b }",
                json!({ "c": "x" }),
                true,
            ),
            (
                "subscription($c: Cursor, $n: Int) { blocks(resumeFrom: $c, since: { number: $n }) { seq ...A ...B } } fragment A on X { a } fragment B on X { b }",
                json!({ "n": 3 }),
                true,
            ),
            (
                "subscription($c: Cursor = \"x\") { blocks(resumeFrom: $c) { seq ...A ...B } } fragment A on X { a } fragment B on X { b }",
                json!({}),
                true,
            ),
            (
                "subscription($c: Cursor) { blocks(resumeFrom: $c) { seq ...A ...B } } fragment A on X { a } fragment B on X { b }",
                json!({ "c": null }),
                false,
            ),
        ] {
            let other = shared(query, variables);
            assert_eq!((other.key == plain.key, other.starts), (true, starts), "{query}\n{}\n{}", other.key, plain.key);
        }
    }

    #[test]
    fn different_subscriptions_have_different_keys() {
        let queries = [
            ("subscription { blocks { seq } }", json!({})),
            ("subscription { blocks { a: seq } }", json!({})),
            ("subscription { blocks { seq kind } }", json!({})),
            ("subscription { blocks { kind seq } }", json!({})),
            ("subscription { blocks(chainId: 1) { seq } }", json!({})),
            ("subscription { blocks(chainId: \"1\") { seq } }", json!({})),
            ("subscription { blocks(chainId: {pos: 0, node: 1}) { seq } }", json!({})),
            ("subscription { blocks @include(if: true) { seq } }", json!({})),
            ("subscription($c: Int) { blocks(chainId: $c) { seq } }", json!({ "c": 1 })),
            ("subscription($c: Int) { blocks(chainId: $c) { seq } }", json!({ "c": 2 })),
            ("subscription($c: Int!) { blocks(chainId: $c) { seq } }", json!({ "c": 1 })),
            // One that is not used, or is used elsewhere too, stays: whether the document is valid hangs on it.
            ("subscription($c: Int) { blocks { seq } }", json!({})),
            ("subscription($c: Cursor) { blocks(resumeFrom: $c) { seq(a: $c) } }", json!({ "c": "x" })),
        ];
        let key = |(query, variables): &(&str, Value)| {
            let document = Document::new(query, None).unwrap();
            Shared::new(document.parsed, None, Variables::from_json(variables.clone()), "").map(|shared| shared.key).ok()
        };
        let keys: BTreeSet<_> = queries.iter().filter_map(key).collect();
        assert_eq!(keys.len(), queries.len() - 1, "all but the one with a directive, which is refused");
    }

    #[test]
    fn what_is_no_single_subscription_is_refused() {
        for query in ["subscription { a b }", "subscription { ...A } fragment A on Subscription { blocks { seq } }"] {
            let document = Document::new(query, None).unwrap();
            assert!(Shared::new(document.parsed, None, Variables::default(), "").is_err(), "{query}");
        }
        assert!(Document::new("subscription A { a } subscription B { b }", None).is_err());
        assert!(Document::new("subscription A { a }", Some("B")).is_err());
        assert!(Document::new("{", None).is_err());
    }
}
