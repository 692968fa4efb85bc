//! Write commands with many parts in one round trip.

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
};

use super::{
    Store,
    error::{Result, corrupt},
    schema::SNAPSHOTS,
};
use crate::store::history::StoreError;

/// Parts of one update command. A command is a document: 16 MiB at most.
const UPDATE_PARTS: usize = 1_000;
/// A snapshot of 5,000 ticks has 125 kB.
const UPDATE_SNAPSHOTS: usize = 64;

/// Inserts the document; where it is there already, only these fields are taken.
pub(super) fn upsert(document: &RawDocumentBuf, changeable: &[&str]) -> Result<Document> {
    let mut insert = Document::try_from(document.as_ref()).map_err(|e| corrupt(e.to_string()))?;
    let id = insert.remove("_id").unwrap_or(Bson::Null);
    let set: Document =
        changeable.iter().filter_map(|name| insert.remove(name).map(|value| ((*name).to_owned(), value))).collect();
    Ok(doc! { "q": { "_id": id }, "u": { "$set": set, "$setOnInsert": insert }, "upsert": true })
}

pub(super) async fn update(
    store: &Store,
    mut session: Option<&mut ClientSession>,
    collection: &str,
    updates: Vec<Document>,
) -> Result<()> {
    let parts = if collection == SNAPSHOTS { UPDATE_SNAPSHOTS } else { UPDATE_PARTS };
    for chunk in updates.chunks(parts) {
        command(store, session.as_deref_mut(), doc! { "update": collection, "updates": chunk.to_vec() }).await?;
    }
    Ok(())
}

/// A write command with many parts in one round trip; the driver only looks at whether the command as such worked.
pub(super) async fn command(store: &Store, session: Option<&mut ClientSession>, mut command: Document) -> Result<()> {
    let answer = match session {
        Some(session) => store.database.run_command(command).session(session).await?,
        None => {
            command.insert("writeConcern", doc! { "w": "majority" });
            store.database.run_command(command).await?
        }
    };
    let wrong = answer.get_array("writeErrors").ok().and_then(|errors| errors.first().cloned());
    match wrong.or_else(|| answer.get("writeConcernError").cloned()) {
        None => Ok(()),
        Some(wrong) => Err(StoreError::Unavailable(format!("MongoDB refuses a write: {wrong}")).into()),
    }
}
