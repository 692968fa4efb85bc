//! Starts what a `subscribe` message asks for.
//!
//! A query runs in a task of its own. A subscription joins those who have the same one; one that resumes runs alone until it has
//! reached what they have, and joins them then.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_graphql::{Request, parser::types::OperationType};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::AbortHandle;

use super::{
    Sockets,
    group::{errors, frame},
    hub::Membership,
    message::Asked,
    one_error,
    queue::{Body, Frame, Head, Item, Queue, Seat},
};
use crate::{
    api::{
        access::{self, Caller, Cost, Scope},
        gql::{
            Answered,
            error::ApiError,
            link::{Fact, Link, Nature},
            normal::{Document, Shared},
        },
        router::Public,
    },
    domain::cursor::Cursor,
};

/// An operation that runs. Dropping it ends it.
pub(super) struct Operation {
    pub(super) head: Arc<Head>,
    _seat: Seat,
    membership: Arc<Mutex<Option<Membership>>>,
    task: Option<AbortHandle>,
    /// The position after what was written last.
    pub(super) cursor: Option<Cursor>,
}

impl Operation {
    /// It was behind, and everything is written now: it begins anew.
    pub(super) fn reopen(&self) {
        if let Some(membership) = self.membership.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            membership.reopen();
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A step through history takes some ms.
const WORK_MAX: Duration = Duration::from_secs(1);

/// What an operation needs of its connection.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) public: Arc<Public>,
    pub(super) queue: Arc<Queue>,
    pub(super) caller: Caller,
}

impl Place {
    pub(super) fn new(public: Arc<Public>, caller: Caller) -> Self {
        Self { public, queue: Arc::default(), caller }
    }

    fn sockets(&self) -> &Sockets {
        &self.public.sockets
    }

    fn fail(&self, head: &Arc<Head>, error: ApiError) {
        self.queue.push(Item { head: head.clone(), body: Body::Failed(one_error(error)) });
    }

    /// Runs something for an operation that ends with it, or hands it over.
    fn spawn(&self, head: &Arc<Head>, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (place, head) = (self.clone(), head.clone());
        let task = async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                let message = "something went wrong in this server, and was written to its log: try again";
                place.fail(&head, ApiError::new(crate::api::gql::error::Code::UpstreamDown, message));
            }
        };
        tokio::spawn(task).abort_handle()
    }

    /// `resume` is the cursor that the client named for this operation when it connected.
    pub(super) fn start(&self, head: Arc<Head>, asked: Asked, resume: Option<&str>) -> Operation {
        let seat = Seat::new(&self.queue, head.serial);
        let mut operation = Operation { head: head.clone(), _seat: seat, membership: Arc::default(), task: None, cursor: None };
        if let Err(error) = self.begin(&mut operation, asked, resume) {
            self.fail(&head, error);
        }
        operation
    }

    fn begin(&self, operation: &mut Operation, mut asked: Asked, resume: Option<&str>) -> Result<(), ApiError> {
        let head = operation.head.clone();
        self.public.access.admit(&self.caller).map_err(|wait| access::too_much(wait).0)?;
        let variables = asked.variables();
        let mut request = Request::new(std::mem::take(&mut asked.query)).variables(variables.clone());
        request.operation_name.clone_from(&asked.operation);
        request.extensions = asked.extensions();
        self.public.engine.persisted(&mut request)?;
        let document = Document::new(&request.query, asked.operation.as_deref())?;
        let is_subscription = document.kind == OperationType::Subscription;
        self.public.access.may(&self.caller, if is_subscription { Scope::Subscribe } else { Scope::Read })?;
        if document.kind != OperationType::Subscription {
            operation.task = Some(self.spawn(&head, self.clone().answer(head.clone(), request)));
            return Ok(());
        }
        let resume = resume.map(Cursor::decode).transpose()?;
        request.set_parsed_query(document.parsed.clone());
        let shared = Shared::new(document.parsed, asked.operation, variables, self.caller.class())?;
        if resume.is_none() && !shared.starts {
            let membership = self.sockets().hub.join(&shared, &self.queue, &head, self.caller.client())?;
            *operation.membership.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
            return Ok(());
        }
        let alone = self.clone().resume(head.clone(), request, shared, resume, operation.membership.clone());
        operation.task = Some(self.spawn(&head, alone));
        Ok(())
    }

    async fn answer(self, head: Arc<Head>, request: Request) {
        let _turn = self.queue.turn().await;
        let Answered { response, began, fields } = self.public.engine.execute(request).await;
        if !began {
            self.queue.push(Item { head, body: Body::Failed(errors(&response)) });
            return;
        }
        let payload = serde_json::to_string(&response).unwrap_or_default();
        // Whether it is read or not.
        self.public.access.settle(&self.caller, Cost::new(payload.len(), fields));
        let frame = Frame { payload: payload.into(), plain: false, fact: Fact::default() };
        self.queue.push(Item { head: head.clone(), body: Body::Next(Arc::new(frame), 0) });
        self.queue.push(Item { head, body: Body::Complete });
    }

    async fn resume(
        self,
        head: Arc<Head>,
        request: Request,
        shared: Shared,
        resume: Option<Cursor>,
        joined: Arc<Mutex<Option<Membership>>>,
    ) {
        let link = Arc::new(Link::resuming(resume, self.public.shares.of(&self.caller)));
        let hub = &self.sockets().hub;
        let mut stream = hub.schema().execute_stream(request.data(link.clone()));
        let keep = |membership: Membership| *joined.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
        // At the head nothing is read back, and it may be long until something happens.
        let mut is_live = false;
        loop {
            let turn = if is_live { None } else { Some(self.queue.turn().await) };
            let (response, turn) = tokio::select! {
                response = stream.next() => (response, turn),
                // It waits for its chain, or for the store: others of this connection need not.
                () = tokio::time::sleep(WORK_MAX), if turn.is_some() => { drop(turn); (stream.next().await, None) }
            };
            let Some(response) = response else { break };
            let frame = match frame(&response, &link) {
                Ok(frame) => frame,
                Err(errors) => return self.queue.push(Item { head, body: Body::Failed(errors) }),
            };
            if frame.fact.nature != Nature::Event {
                // Of a state only the newest counts: it begins like all others.
                match hub.join(&shared, &self.queue, &head, self.caller.client()) {
                    Ok(membership) => keep(membership),
                    Err(error) => self.fail(&head, error),
                }
                return;
            }
            let through = frame.fact.through;
            is_live = through.is_some();
            let turn = match turn {
                Some(turn) => turn,
                None => self.queue.turn().await,
            };
            self.public.access.settle(&self.caller, Cost::new(frame.payload.len(), 0));
            self.queue.push(Item { head: head.clone(), body: Body::Next(Arc::new(frame), 0) });
            drop(turn);
            let Some(at) = through else { continue };
            match hub.join_at(&shared, &self.queue, &head, self.caller.client(), at) {
                Ok((membership, fits)) => {
                    // Kept where the operation's end finds it, even while this waits.
                    keep(membership);
                    if fits.await == Ok(true) {
                        return;
                    }
                    joined.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                Err(error) => return self.fail(&head, error),
            }
        }
        self.queue.push(Item { head, body: Body::Complete });
    }
}
