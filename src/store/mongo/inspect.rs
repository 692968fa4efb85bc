//! What `swaptide doctor` says of the database, by reading alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy::primitives::B256;
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};

use super::{MongoConfig, connect, error::Result, judge, schema};
use crate::{
    domain::ChainId,
    store::{
        history::StoreError,
        inspect::{self, Check, Inspection, Wanted},
    },
};

/// All questions together: above the 5 s that a server is waited for, whatever the URL says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Wire version of 5.0, the oldest that is supported.
const WIRE_VERSION_MIN: i32 = 13;

/// What the engine does in its database.
const ACTIONS: [&str; 7] = ["find", "insert", "update", "remove", "createCollection", "createIndex", "listCollections"];

/// Looks at the server and the database; writes nothing.
pub async fn inspect(config: MongoConfig, wanted: &[Wanted]) -> Inspection {
    let mut inspection = Inspection::default();
    let asked = tokio::time::timeout(TIMEOUT, look(config, wanted, &mut inspection)).await;
    let failed = match asked {
        Ok(Ok(())) => return inspection,
        Ok(Err(failure)) => failure.told(),
        Err(_) => StoreError::Unavailable(format!("MongoDB did not answer everything within {} s", TIMEOUT.as_secs())),
    };
    // What was about to be looked at.
    let name = ["server", "transactions", "rights", "database"].get(inspection.checks.len()).copied();
    inspection.checks.push(Check::new(name.unwrap_or("chains"), Err(failed)));
    inspection
}

async fn look(config: MongoConfig, wanted: &[Wanted], Inspection { checks, chains }: &mut Inspection) -> Result<()> {
    let (client, database) = connect::client(config).await?;
    let hello = database.run_command(doc! { "hello": 1 }).await?;
    let version = client.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
    checks.push(Check::new("server", server(&hello, version.get_str("version").unwrap_or("of unknown version"))));
    checks.push(Check::new("transactions", transactions(&hello)));
    checks.push(Check::new("rights", rights(&database).await?));
    let version = schema::check(&database).await?;
    let name = database.name();
    checks.push(Check::new(
        "database",
        Ok(match version {
            None => format!("`{name}` is empty: the first start makes its collections and indexes"),
            Some(version) => format!("`{name}` is ours, schema {version}"),
        }),
    ));
    let there: BTreeMap<ChainId, B256> = match version {
        Some(_) => schema::claims(&database).await?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    chains.extend(there.keys());
    checks.extend(inspect::chains(&there, wanted, |claimed, chain, genesis| judge(name, &there, claimed, chain, genesis)));
    Ok(())
}

fn server(hello: &Document, version: &str) -> std::result::Result<String, StoreError> {
    if hello.get_i32("maxWireVersion").is_ok_and(|wire| wire < WIRE_VERSION_MIN) {
        return Err(StoreError::Foreign(format!("MongoDB {version} is too old: 5.0 or newer is needed")));
    }
    Ok(format!("MongoDB {version}"))
}

/// A member of a replica set, or what stands before a sharded cluster.
fn transactions(hello: &Document) -> std::result::Result<String, StoreError> {
    match hello.get_str("setName") {
        Ok(name) => Ok(format!("replica set `{name}`")),
        Err(_) if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") => Ok("sharded cluster".to_owned()),
        Err(_) => Err(StoreError::Foreign(
            "this MongoDB has no transactions: run it as a replica set (one member is enough: `mongod --replSet rs0`, then `rs.initiate()`)"
                .to_owned(),
        )),
    }
}

/// What the user may do, by what the server says of it: trying would write.
async fn rights(database: &Database) -> Result<std::result::Result<String, StoreError>> {
    let status = database.run_command(doc! { "connectionStatus": 1, "showPrivileges": true }).await?;
    Ok(judge_rights(status.get_document("authInfo").unwrap_or(&Document::new()), database.name()))
}

fn judge_rights(auth: &Document, database: &str) -> std::result::Result<String, StoreError> {
    if auth.get_array("authenticatedUsers").is_ok_and(Vec::is_empty) {
        return Ok("no user: this server asks for none, or refuses below".to_owned());
    }
    let privileges = auth.get_array("authenticatedUserPrivileges").into_iter().flatten();
    let allowed: BTreeSet<&str> = privileges
        .filter_map(Bson::as_document)
        .filter(|privilege| privilege.get_document("resource").is_ok_and(|resource| covers(resource, database)))
        .filter_map(|privilege| privilege.get_array("actions").ok())
        .flat_map(|actions| actions.iter().filter_map(Bson::as_str))
        .collect();
    let missing: Vec<&str> =
        ACTIONS.into_iter().filter(|action| !allowed.contains(action) && !allowed.contains("anyAction")).collect();
    if missing.is_empty() {
        return Ok("the user may read and write".to_owned());
    }
    let missing = missing.join(", ");
    Err(StoreError::Unavailable(format!(
        "the user may not {missing} in `{database}`: give it the role readWrite on the database"
    )))
}

/// Whether a privilege on this resource is one on every collection of the database.
fn covers(resource: &Document, database: &str) -> bool {
    resource.get_bool("anyResource").unwrap_or(false)
        || (resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database)
            && resource.get_str("collection").is_ok_and(str::is_empty))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc};

    use super::judge_rights;

    /// What a server says of a user with these privileges.
    fn user(privileges: &[(Document, &[&str])]) -> Document {
        let privileges: Vec<Document> =
            privileges.iter().map(|(on, actions)| doc! { "resource": on.clone(), "actions": actions.to_vec() }).collect();
        doc! { "authenticatedUsers": [{ "user": "ada", "db": "admin" }], "authenticatedUserPrivileges": privileges }
    }

    #[test]
    fn a_user_needs_every_action_on_every_collection_of_this_database() {
        let all: &[&str] = &["find", "insert", "update", "remove", "createCollection", "createIndex", "listCollections"];
        let (ours, any) = (doc! { "db": "swaptide", "collection": "" }, doc! { "db": "", "collection": "" });
        for good in [
            doc! { "authenticatedUsers": [] },
            user(&[(ours.clone(), all)]),
            user(&[(any, all)]),
            user(&[(ours.clone(), &["find", "insert", "update"]), (ours.clone(), &all[3..])]),
            user(&[(doc! { "anyResource": true }, &["anyAction"])]),
        ] {
            assert!(judge_rights(&good, "swaptide").is_ok(), "{good}");
        }
        for (bad, says) in [
            (
                user(&[(ours.clone(), &["find", "listCollections"])]),
                "may not insert, update, remove, createCollection, createIndex",
            ),
            (user(&[(doc! { "db": "other", "collection": "" }, all)]), "may not find"),
            (user(&[(doc! { "db": "swaptide", "collection": "events" }, all)]), "may not find"),
            (user(&[]), "readWrite"),
        ] {
            let refused = judge_rights(&bad, "swaptide").unwrap_err().to_string();
            assert!(refused.contains(says), "{bad}: {refused}");
        }
    }
}
