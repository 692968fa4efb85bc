//! Write commands with many parts in one round trip.

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
};

use super::{
    Store,
    error::{Result, corrupt},
    schema::{BLOCKS, BOOKS, CANDLES, PARTS, SNAPSHOTS},
};
use crate::store::history::StoreError;

/// Parts of one update command. A command is a document: 16 MiB at most.
const UPDATE_PARTS: usize = 1_000;
/// Of one update command whose parts are large: snapshots of busy pools, chunks of candles.
const UPDATE_BYTES: usize = 8 * 1024 * 1024;

/// Inserts the document; where it is there already, only these fields are taken.
pub(super) fn upsert(document: &RawDocumentBuf, changeable: &[&str]) -> Result<Document> {
    let mut insert = Document::try_from(document.as_ref()).map_err(|e| corrupt(e.to_string()))?;
    let id = insert.remove("_id").unwrap_or(Bson::Null);
    let set: Document =
        changeable.iter().filter_map(|name| insert.remove(name).map(|value| ((*name).to_owned(), value))).collect();
    let mut change = doc! { "$setOnInsert": insert };
    if !set.is_empty() {
        change.insert("$set", set);
    }
    Ok(doc! { "q": { "_id": id }, "u": change, "upsert": true })
}

pub(super) async fn update(
    store: &Store,
    mut session: Option<&mut ClientSession>,
    collection: &str,
    updates: Vec<Document>,
) -> Result<()> {
    for parts in parted(collection, updates)? {
        command(store, session.as_deref_mut(), doc! { "update": collection, "updates": parts }).await?;
    }
    Ok(())
}

/// What one command may hold at a time.
fn parted(collection: &str, updates: Vec<Document>) -> Result<Vec<Vec<Document>>> {
    let are_large = [SNAPSHOTS, PARTS, CANDLES, BOOKS, BLOCKS].contains(&collection);
    let mut parts: Vec<Vec<Document>> = Vec::new();
    let mut bytes = 0_usize;
    for update in updates {
        let size = if are_large { mongodb::bson::serialize_to_vec(&update)?.len() } else { 0 };
        bytes = bytes.saturating_add(size);
        match parts.last_mut() {
            Some(part) if part.len() < UPDATE_PARTS && bytes <= UPDATE_BYTES => part.push(update),
            _ => {
                bytes = size;
                parts.push(vec![update]);
            }
        }
    }
    Ok(parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A command is a document, and a piece of a snapshot is half of one.
    #[test]
    fn what_is_large_is_a_command_of_its_own() {
        let large =
            doc! { "u": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![0; 8 << 20] } };
        for collection in [SNAPSHOTS, PARTS, CANDLES, BOOKS, BLOCKS] {
            let parts = parted(collection, vec![large.clone(), large.clone(), large.clone()]).unwrap();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1], "{collection}");
        }
    }
}
