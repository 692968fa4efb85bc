//! Lists of objects, resolved in place where only plain fields are selected.
//!
//! The engine makes each field of each row a future on the heap and awaits them all side by side. That is right for fields which
//! have to wait, and most of the cost of a page whose fields are there already: those are polled once here, on the stack. Whatever is
//! not plain (objects inside, fragments, directives), or turns out to wait or to fail, is left to the engine, whole. What is absent:
//! the engine's `resolve` hook for extensions, which none of ours has.

use std::borrow::Cow;

use async_graphql::{
    ContainerType, ContextSelectionSet, OutputType, Positioned, ServerResult, Value,
    indexmap::IndexMap,
    parser::types::{Field, Selection},
    registry::Registry,
    resolver_utils::resolve_list,
};
use futures_util::FutureExt as _;

/// A list, as `Vec` is one.
pub(crate) struct Rows<T>(pub(super) Vec<T>);

impl<T: ContainerType> OutputType for Rows<T> {
    fn type_name() -> Cow<'static, str> {
        <Vec<T> as OutputType>::type_name()
    }

    fn qualified_type_name() -> String {
        <Vec<T> as OutputType>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Vec<T> as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match self.in_place(ctx) {
            Some(rows) => Ok(rows),
            None => resolve_list(ctx, field, &self.0, Some(self.0.len())).await,
        }
    }
}

impl<T: ContainerType> Rows<T> {
    fn in_place(&self, ctx: &ContextSelectionSet<'_>) -> Option<Value> {
        let fields = ctx.item.node.items.iter().map(|selection| match &selection.node {
            Selection::Field(field) if is_plain(&field.node) => Some(field),
            _ => None,
        });
        let fields: Vec<&Positioned<Field>> = fields.collect::<Option<_>>()?;
        let row = |(index, row): (usize, &T)| {
            let at = ctx.with_index(index);
            let mut object = IndexMap::with_capacity(fields.len());
            for field in &fields {
                let value = if field.node.name.node == "__typename" {
                    Value::String(row.introspection_type_name().into_owned())
                } else {
                    row.resolve_field(&at.with_field(field)).now_or_never()?.ok()?.unwrap_or_default()
                };
                object.insert(field.node.response_key().node.clone(), value);
            }
            Some(Value::Object(object))
        };
        self.0.iter().enumerate().map(row).collect::<Option<_>>().map(Value::List)
    }
}

fn is_plain(field: &Field) -> bool {
    field.selection_set.node.items.is_empty() && field.directives.is_empty()
}
