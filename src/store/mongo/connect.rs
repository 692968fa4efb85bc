//! Which server, with which patience and promises.

use std::time::Duration;

use mongodb::{
    Client, Database,
    error::Error,
    event::{EventHandler, command::CommandEvent},
    options::{ClientOptions, Credential, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};

use super::error::{Failure, Result};
use crate::store::history::StoreError;

/// The driver would wait 30 s for a server that is away. What waits here is tried again by its caller, and says so meanwhile.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
/// Connections: a few writers, and readers that hold one for about a millisecond.
const POOL_SIZE: u32 = 32;
/// Where the URI names none.
const DATABASE: &str = "swaptide";

/// What of a configuration concerns MongoDB.
#[derive(Clone)]
pub struct MongoConfig {
    /// `mongodb://…` or `mongodb+srv://…`; its options win over what is set here.
    pub uri: String,
    /// In place of those of the URI.
    pub username: Option<String>,
    pub password: Option<String>,
    /// The wall clock, Unix seconds: a migration's lock expires.
    pub now_unix_s: fn() -> u64,
    /// Hears of every command; for tests and traces.
    pub commands: Option<EventHandler<CommandEvent>>,
}

impl MongoConfig {
    #[must_use]
    pub fn new(uri: &str, now_unix_s: fn() -> u64) -> Self {
        Self { uri: uri.to_owned(), username: None, password: None, now_unix_s, commands: None }
    }
}

pub(super) async fn client(config: MongoConfig) -> Result<(Client, Database)> {
    let mut options = ClientOptions::parse(&config.uri).await.map_err(refused)?;
    options.app_name.get_or_insert_with(|| "swaptide".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    options.max_pool_size.get_or_insert(POOL_SIZE);
    // Not open to choice: what is said to be stored has to survive the loss of a member, and reads must see it.
    options.write_concern = Some(WriteConcern::majority());
    // On the database below instead: one of the client would win over that of a snapshot session.
    options.read_concern = None;
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.command_event_handler = config.commands;
    if config.username.is_some() || config.password.is_some() {
        let mut credential = options.credential.take().unwrap_or_else(|| Credential::builder().build());
        credential.username = config.username.or(credential.username);
        credential.password = config.password.or(credential.password);
        options.credential = Some(credential);
    }
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
    let client = Client::with_options(options).map_err(refused)?;
    let database = database(&client, &name);
    Ok((client, database))
}

/// A database of this server, read as everything here is.
pub(super) fn database(client: &Client, name: &str) -> Database {
    client.database_with_options(name, DatabaseOptions::builder().read_concern(ReadConcern::majority()).build())
}

/// The driver's text for a URI may repeat it: only what kind of error it is, is told.
fn refused(error: Error) -> Failure {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::DnsResolve { .. } | mongodb::error::ErrorKind::InvalidTlsConfig { .. } => error.into(),
        _ => StoreError::Foreign(
            "[store] url is no MongoDB URI that can be used: write mongodb://host:port/database or mongodb+srv://host/database, and \
             percent-encode user and password"
                .to_owned(),
        )
        .into(),
    }
}
