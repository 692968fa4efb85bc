//! What a document may ask for, decided before the engine looks at it.
//!
//! The engine walks every spread of every fragment before any of its own limits applies: 951 bytes of nested fragments cost it
//! 14.7 s (facts.md). So the text is scanned first (tokens, nesting: the parser recurses too), then parsed once, then measured
//! with each fragment measured once. What is absent: the price of a field in rows; that is the engine's complexity limit.

use std::collections::HashMap;

use async_graphql::{
    Name,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

use super::error::{ApiError, Code};

/// The introspection query of GraphiQL has about 500.
const TOKENS_MAX: usize = 5_000;
/// Brackets of all kinds, one inside the other.
const NESTING_MAX: usize = 64;
/// Fields inside fields: the deepest useful query has 6.
pub(super) const DEPTH_MAX: usize = 12;
/// `ofType` nine times over, as introspection queries do.
pub(super) const DEPTH_INTROSPECTION_MAX: usize = 20;
pub(super) const FRAGMENTS_MAX: usize = 50;
/// A page that asks for 200 pools by id in one request is still fine.
const ALIASES_MAX: usize = 250;
/// `@include` and `@skip`, after every fragment is put where it is spread.
const DIRECTIVES_MAX: usize = 100;
/// Selections after every fragment is put where it is spread.
const SELECTIONS_MAX: usize = 10_000;

fn too_much(what: &str, most: usize) -> ApiError {
    ApiError::new(
        Code::ComplexityLimit,
        format!("the query has too many {what}: at most {most} are accepted; split it into several requests"),
    )
}

/// Counts tokens and nesting without parsing.
pub(super) fn check_text(query: &str) -> Result<(), ApiError> {
    let mut tokens = 0usize;
    let mut nesting = 0usize;
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '"' => string_length(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        match first {
            '{' | '(' | '[' => nesting = nesting.saturating_add(1),
            '}' | ')' | ']' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        if !(first.is_whitespace() || matches!(first, ',' | '#' | '\u{feff}')) {
            tokens = tokens.saturating_add(1);
        }
        if tokens > TOKENS_MAX {
            return Err(too_much("tokens", TOKENS_MAX));
        }
        if nesting > NESTING_MAX {
            return Err(too_much("nested brackets", NESTING_MAX));
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')
}

/// Length of the string literal that `text` begins with, block strings included.
fn string_length(text: &str) -> usize {
    if let Some(body) = text.strip_prefix("\"\"\"") {
        let mut from = 0usize;
        loop {
            let Some(at) = body.get(from..).and_then(|t| t.find("\"\"\"")) else { return text.len() };
            let end = from.saturating_add(at);
            if body.get(..end).is_none_or(|t| !t.ends_with('\\')) {
                return end.saturating_add(6);
            }
            from = end.saturating_add(3);
        }
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' | '\n' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[derive(Debug, Clone, Copy, Default)]
struct Measure {
    /// With every fragment in its place.
    selections: usize,
    depth: usize,
    /// Inside `__schema` and `__type`.
    introspection_depth: usize,
    aliases: usize,
    directives: usize,
}

impl Measure {
    fn beside(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            depth: self.depth.max(other.depth),
            introspection_depth: self.introspection_depth.max(other.introspection_depth),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
        }
    }
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    /// `None` while a fragment is being measured: meeting it again is a cycle.
    done: HashMap<&'a Name, Option<Measure>>,
}

/// Measures a parsed document, each fragment once.
pub(super) fn check_document(document: &ExecutableDocument) -> Result<(), ApiError> {
    if document.fragments.len() > FRAGMENTS_MAX {
        return Err(too_much("fragments", FRAGMENTS_MAX));
    }
    let mut walk = Walk { document, done: HashMap::new() };
    let mut whole = Measure::default();
    // Fragments that nothing spreads are walked by the validator as well.
    for name in document.fragments.keys() {
        walk.fragment(name)?;
    }
    for (_, operation) in document.operations.iter() {
        whole = whole.beside(walk.set(&operation.node.selection_set.node)?);
    }
    if whole.depth > DEPTH_MAX {
        return Err(ApiError::new(
            Code::ComplexityLimit,
            format!("the query is {} levels deep: at most {DEPTH_MAX} are accepted; ask in two steps", whole.depth),
        ));
    }
    if whole.introspection_depth > DEPTH_INTROSPECTION_MAX {
        return Err(too_much("levels of introspection", DEPTH_INTROSPECTION_MAX));
    }
    if whole.aliases > ALIASES_MAX {
        return Err(too_much("aliases", ALIASES_MAX));
    }
    if whole.directives > DIRECTIVES_MAX {
        return Err(too_much("directives", DIRECTIVES_MAX));
    }
    if whole.selections > SELECTIONS_MAX {
        return Err(too_much("fields", SELECTIONS_MAX));
    }
    Ok(())
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a SelectionSet) -> Result<Measure, ApiError> {
        let mut whole = Measure::default();
        for item in &set.items {
            let one = match &item.node {
                Selection::Field(field) => {
                    let inner = self.set(&field.node.selection_set.node)?;
                    let deeper = inner.depth.saturating_add(1);
                    let introspection = matches!(field.node.name.node.as_str(), "__schema" | "__type");
                    Measure {
                        selections: inner.selections.saturating_add(1),
                        depth: if introspection { 1 } else { deeper },
                        introspection_depth: if introspection { deeper } else { inner.introspection_depth },
                        aliases: inner.aliases.saturating_add(usize::from(field.node.alias.is_some())),
                        directives: inner.directives,
                    }
                }
                Selection::InlineFragment(inline) => plus_one(self.set(&inline.node.selection_set.node)?),
                Selection::FragmentSpread(spread) => plus_one(self.fragment(&spread.node.fragment_name.node)?),
            };
            let own = Measure { directives: item.node.directives().len(), ..Measure::default() };
            whole = whole.beside(one).beside(own);
        }
        Ok(whole)
    }

    fn fragment(&mut self, name: &Name) -> Result<Measure, ApiError> {
        // An unknown fragment is for the validator to name.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return Ok(Measure::default()) };
        match self.done.get(name) {
            Some(Some(measure)) => return Ok(*measure),
            Some(None) => {
                return Err(ApiError::input(format!("fragment `{name}` spreads itself: a fragment must end somewhere")));
            }
            None => {}
        }
        self.done.insert(name, None);
        let measure = self.set(&fragment.node.selection_set.node)?;
        self.done.insert(name, Some(measure));
        Ok(measure)
    }
}

fn plus_one(measure: Measure) -> Measure {
    Measure { selections: measure.selections.saturating_add(1), ..measure }
}
