//! The engine's extension: limits before anything is walked, a code on every error, and `extensions.asOf` on every answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_graphql::{
    PathSegment, Request, Response, ServerError, ServerResult, ValidationResult, Value,
    extensions::{
        Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest, NextRequest, NextSubscribe,
        NextValidation,
    },
    futures_util::stream::BoxStream,
    indexmap::IndexMap,
};
use futures_util::StreamExt;

use super::{
    block::Freshness,
    core::Core,
    error::{ApiError, Code},
    heights, limits,
    loader::Loader,
    pins::Pins,
};
use crate::store::Pin;

/// Put into a request's data by whoever has to know what became of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Executed(Arc<(AtomicBool, AtomicUsize)>);

impl Executed {
    /// Execution began: only then is there a `data` entry.
    pub(super) fn began(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Fields that the answer could have had.
    pub(super) fn fields(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

pub(super) struct Guard;

impl ExtensionFactory for Guard {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Guard {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        coded(next.run(ctx).await)
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(ctx, stream).map(coded).boxed()
    }

    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let mut request = next.run(ctx, request).await?;
        limits::check_text(&request.query).map_err(refused)?;
        let operation_name = request.operation_name.clone();
        let variables = request.variables.clone();
        let document = request.parsed_query()?;
        limits::check_document(document).map_err(refused)?;
        let wanted = heights::wanted(document, operation_name.as_deref(), &variables);
        request.data.insert(Arc::new(Pins::new(wanted)));
        request.data.insert(Loader::default());
        Ok(request)
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let valid = next.run(ctx).await?;
        if let Some(executed) = ctx.data_opt::<Executed>() {
            executed.0.1.store(valid.complexity, Ordering::Relaxed);
        }
        Ok(valid)
    }

    async fn execute(&self, ctx: &ExtensionContext<'_>, operation_name: Option<&str>, next: NextExecute<'_>) -> Response {
        if let Some(executed) = ctx.data_opt::<Executed>() {
            executed.0.0.store(true, Ordering::Relaxed);
        }
        let response = without_holes(next.run(ctx, operation_name).await);
        match (ctx.data_opt::<Arc<Pins>>(), ctx.data_opt::<Arc<Core>>()) {
            (Some(pins), Some(core)) => stamped(response, pins, core),
            _ => response,
        }
    }
}

/// With the block that the answer is true at.
pub(super) fn stamped(response: Response, pins: &Pins, core: &Core) -> Response {
    // A frame names its block itself.
    if pins.is_subscription() {
        return response;
    }
    let mut taken = pins.taken();
    if taken.is_empty() {
        // Nothing was read: with one chain the answer still says how new this server is.
        taken.extend(core.reader.pin(None).ok().map(Arc::new));
    }
    match as_of(&taken) {
        Some(value) => response.extension("asOf", value),
        None => response,
    }
}

/// One object, or a list where a request read several chains.
fn as_of(pins: &[Arc<Pin>]) -> Option<Value> {
    let mut all: Vec<Value> = pins.iter().map(|pin| one_as_of(pin)).collect();
    if all.len() > 1 { Some(Value::List(all)) } else { all.pop() }
}

fn one_as_of(pin: &Pin) -> Value {
    let block = pin.head().block;
    let mut map = IndexMap::new();
    let mut set = |name: &str, value: Value| map.insert(async_graphql::Name::new(name), value);
    set("chainId", Value::from(pin.chain()));
    set("number", block.map_or(Value::Null, |b| Value::from(b.number)));
    set("hash", block.map_or(Value::Null, |b| Value::from(format!("{:#x}", b.hash))));
    set("freshness", Value::from(Freshness::from(pin.freshness()).as_str()));
    Value::Object(map)
}

/// The engine leaves a field that failed out of the answer. A field that is null says so itself; one that must not be null takes
/// the whole answer with it, so that no client sees an object without what its type promises.
pub(super) fn without_holes(mut response: Response) -> Response {
    if response.errors.iter().any(|error| !reaches(&response.data, &error.path)) {
        response.data = Value::Null;
    }
    response
}

/// Whether it says that the store cannot answer.
pub(super) fn is_upstream(error: &ServerError) -> bool {
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    code == Some(&Value::from(Code::UpstreamDown.as_str()))
}

/// Whether there is something, if only null, at or above the end of the path.
fn reaches(data: &Value, path: &[PathSegment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match (data, first) {
        (Value::Null, _) => true,
        (Value::Object(map), PathSegment::Field(name)) => map.get(name.as_str()).is_some_and(|value| reaches(value, rest)),
        (Value::List(list), PathSegment::Index(at)) => list.get(*at).is_some_and(|value| reaches(value, rest)),
        _ => false,
    }
}

fn refused(error: ApiError) -> ServerError {
    async_graphql::Error::from(error).into_server_error(async_graphql::Pos::default())
}

/// Errors that the engine made itself are about the request, and say so.
fn coded(mut response: Response) -> Response {
    for error in &mut response.errors {
        if error.extensions.as_ref().is_some_and(|e| e.get("code").is_some()) {
            continue;
        }
        let code = if error.message == "Query is too complex." {
            error.message =
                "the query could answer with too many fields: ask for fewer per page (`first`), or for fewer fields".to_owned();
            Code::ComplexityLimit
        } else {
            Code::BadUserInput
        };
        error.extensions.get_or_insert_default().set("code", code.as_str());
    }
    response
}
