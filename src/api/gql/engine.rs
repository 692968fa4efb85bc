//! Executes requests: under guard, and straight where the same document was answered without any error before.
//!
//! Clients send a few documents again and again. Parsing one, measuring and validating it costs more than answering a small query,
//! and the guard, being an extension of the engine, costs two more futures on the heap for each field of each row. So what is known
//! to be good is kept, parsed. An answer from there that has an error is thrown away, and the guard answers instead: there is nothing
//! but queries here, so asking twice is harmless, and every error is the guard's. What is absent: subscriptions (they are guarded
//! each), and any look at what a client calls its query.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_graphql::{
    EmptyMutation, Request, Response, SchemaBuilder, ValidationMode,
    parser::{parse_query, types::ExecutableDocument},
};

use super::{
    ApiSchema, COMPLEXITY_MAX,
    core::Core,
    documents::{self, Documents},
    error::ApiError,
    guard::{self, Executed},
    heights, limits,
    loader::Loader,
    pins::Pins,
    query::Query,
    subscription::Subscription,
};

/// A front end has some dozens. When there are more, all are forgotten and learnt anew.
const DOCUMENTS_MAX: usize = 256;
/// Of one document: 1 MB of text in all, and some times that parsed.
const TEXT_MAX_BYTES: usize = 4 * 1024;

/// A document that was answered without an error.
struct Known {
    document: ExecutableDocument,
    /// Without variables and operation name, too: what is valid then is always valid.
    alone: AtomicBool,
    /// What it could have answered, with the variables of the first time.
    fields: usize,
}

/// An answer, and what became of the question.
pub(crate) struct Answered {
    pub(crate) response: Response,
    /// Execution began: only then is there a `data` entry.
    pub(crate) began: bool,
    /// Fields that it could have had.
    pub(crate) fields: usize,
}

/// What documents may ask.
#[derive(Debug, Clone)]
pub struct DocumentRules {
    /// `__schema` and `__type` are answered.
    pub introspection: bool,
    /// Only these are executed; `None`: any.
    pub documents: Option<Documents>,
}

impl Default for DocumentRules {
    fn default() -> Self {
        Self { introspection: true, documents: None }
    }
}

pub(crate) struct Engine {
    guarded: ApiSchema,
    /// Validates the same: what variables may hold is part of it.
    strict: ApiSchema,
    /// Only the limits of cost and depth.
    unvalidated: ApiSchema,
    core: Arc<Core>,
    documents: Option<Documents>,
    known: RwLock<HashMap<String, Arc<Known>>>,
}

fn limited(core: &Arc<Core>) -> SchemaBuilder<Query, EmptyMutation, Subscription> {
    super::builder()
        .data(core.clone())
        .limit_complexity(COMPLEXITY_MAX)
        .limit_recursive_depth(limits::DEPTH_INTROSPECTION_MAX.saturating_add(limits::FRAGMENTS_MAX))
}

impl Engine {
    pub(crate) fn new(core: Core, rules: &DocumentRules) -> Self {
        let core = Arc::new(core);
        let limited = || {
            let schema = limited(&core);
            if rules.introspection { schema } else { schema.disable_introspection() }
        };
        Self {
            guarded: limited().extension(guard::Guard).finish(),
            strict: limited().finish(),
            unvalidated: limited().validation_mode(ValidationMode::Fast).finish(),
            documents: rules.documents.clone(),
            core: core.clone(),
            known: RwLock::default(),
        }
    }

    /// For transports that execute by themselves.
    pub(crate) fn guarded(&self) -> &ApiSchema {
        &self.guarded
    }

    /// The document that is meant, where only those of a list are executed.
    ///
    /// # Errors
    /// It is none of them.
    pub(crate) fn persisted(&self, request: &mut Request) -> Result<(), ApiError> {
        if let Some(documents) = &self.documents {
            let found = documents.find(&request.query, documents::named(request).as_deref())?;
            found.clone_into(&mut request.query);
        } else if request.query.trim().is_empty() {
            return Err(ApiError::input("there is no `query` in the request, and no list of persisted documents here"));
        }
        Ok(())
    }

    pub(crate) async fn execute(&self, mut request: Request) -> Answered {
        if let Err(error) = self.persisted(&mut request) {
            return Answered { response: Response::from_errors(vec![error.about_request()]), began: false, fields: 0 };
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&request.query).cloned();
        if let Some(known) = &known
            && let Some(response) = self.straight(known, &request).await
        {
            return Answered { response, began: true, fields: known.fields };
        }
        let alone = is_alone(&request);
        let text = (request.query.len() <= TEXT_MAX_BYTES).then(|| request.query.clone());
        let executed = Executed::default();
        let response = self.guarded.execute(request.data(executed.clone())).await;
        let began = executed.began();
        if began
            && response.errors.is_empty()
            && let Some(text) = text
        {
            self.learn(text, alone, executed.fields());
        }
        Answered { response, began, fields: executed.fields() }
    }

    /// `None`: something is wrong with it.
    async fn straight(&self, known: &Known, request: &Request) -> Option<Response> {
        let alone = is_alone(request);
        let schema = if alone && known.alone.load(Ordering::Relaxed) { &self.unvalidated } else { &self.strict };
        let operation = request.operation_name.as_deref();
        let wanted = heights::wanted(&known.document, operation, &request.variables);
        if !wanted.heights.is_empty() {
            // It may wait for a block: not twice.
            return None;
        }
        let pins = Arc::new(Pins::new(wanted));
        let mut straight =
            Request::new(String::new()).variables(request.variables.clone()).data(pins.clone()).data(Loader::default());
        straight.operation_name.clone_from(&request.operation_name);
        straight.set_parsed_query(known.document.clone());
        let response = schema.execute(straight).await;
        if !response.errors.is_empty() {
            // A store that fails is not asked again.
            let away = response.errors.iter().all(guard::is_upstream);
            return away.then(|| guard::stamped(guard::without_holes(response), &pins, &self.core));
        }
        if alone {
            known.alone.store(true, Ordering::Relaxed);
        }
        Some(guard::stamped(response, &pins, &self.core))
    }

    fn learn(&self, text: String, alone: bool, fields: usize) {
        let Ok(document) = parse_query(&text) else { return };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DOCUMENTS_MAX {
            known.clear();
        }
        known.insert(text, Arc::new(Known { document, alone: AtomicBool::new(alone), fields }));
    }
}

fn is_alone(request: &Request) -> bool {
    request.variables.is_empty() && request.operation_name.is_none()
}
