//! Recorded prices in a database of their own beside the chain's: `swaptide` has `swaptide_keep`.

use futures_util::future::BoxFuture;
use mongodb::{
    Collection, Database,
    bson::{Document, doc},
};

use super::{
    connect::{self, MongoConfig},
    error::{Failure, Result, corrupt},
    key::{bound, int},
};
use crate::store::{
    history::StoreError,
    keep::{Keep, RecordedPrice, Written},
};

const META: &str = "meta";
const PRICES: &str = "prices";
const APPLICATION: &str = "swaptide keep";
const VERSION: i32 = 1;

/// Share it as `Arc<dyn Keep>`.
pub struct MongoKeep {
    database: Database,
}

impl MongoKeep {
    /// Connects with the first use.
    ///
    /// # Errors
    /// Where the URI is none, or its name cannot be looked up.
    pub async fn open(config: MongoConfig) -> std::result::Result<Self, StoreError> {
        let (client, database) = connect::client(config).await.map_err(Failure::told)?;
        Ok(Self { database: connect::database(&client, &format!("{}_keep", database.name())) })
    }

    fn prices(&self) -> Collection<Document> {
        self.database.collection(PRICES)
    }

    /// Refuses what is not ours; enters our name where there is nothing.
    async fn enter(&self) -> Result<()> {
        let meta = self.database.collection::<Document>(META);
        let name = self.database.name();
        match meta.find_one(doc! { "_id": "schema" }).await? {
            Some(schema) if schema.get_str("application").is_ok_and(|name| name == APPLICATION) => {
                match schema.get_i32("version") {
                    Ok(1..=VERSION) => Ok(()),
                    _ => {
                        Err(StoreError::Foreign(format!("the MongoDB database `{name}` was written by a newer swaptide")).into())
                    }
                }
            }
            None if self
                .database
                .list_collection_names()
                .await?
                .iter()
                .all(|name| name.starts_with("system.") || name == META) =>
            {
                let ours = doc! { "$setOnInsert": { "application": APPLICATION, "version": VERSION } };
                meta.update_one(doc! { "_id": "schema" }, ours).upsert(true).await?;
                Ok(())
            }
            _ => {
                Err(StoreError::Foreign(format!("the MongoDB database `{name}` is not ours: prices cannot be kept there")).into())
            }
        }
    }

    async fn write(&self, prices: &[RecordedPrice]) -> Result<()> {
        if prices.is_empty() {
            return Ok(());
        }
        self.enter().await?;
        for price in prices {
            let written = mongodb::bson::serialize_to_document(&Written::of(price))?;
            let id = doc! { "_id": { "pair": price.pair.as_str(), "minute": int(price.minute)? } };
            self.prices().update_one(id, doc! { "$setOnInsert": written }).upsert(true).await?;
        }
        Ok(())
    }

    async fn read(&self, pair: &str, from: u64, to: u64) -> Result<Option<RecordedPrice>> {
        // Documents compare field by field, so that a pair's minutes are a range of `_id`.
        let at = |minute: u64| doc! { "pair": pair, "minute": bound(minute) };
        let range = doc! { "_id": { "$gte": at(from), "$lte": at(to) } };
        let Some(mut found) = self.prices().find_one(range).sort(doc! { "_id": -1 }).await? else { return Ok(None) };
        let wrong = || corrupt("a recorded price that no version of ours wrote");
        let id =
            found.remove("_id").and_then(|id| id.as_document().and_then(|id| id.get_i64("minute").ok())).ok_or_else(wrong)?;
        let written: Written = mongodb::bson::deserialize_from_document(found).map_err(|_| wrong())?;
        written.read(pair, id.cast_unsigned()).map(Some).ok_or_else(wrong)
    }
}

impl Keep for MongoKeep {
    fn record(&self, prices: Vec<RecordedPrice>) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        Box::pin(async move { self.write(&prices).await.map_err(Failure::told) })
    }

    fn price(&self, pair: &str, from: u64, to: u64) -> BoxFuture<'_, std::result::Result<Option<RecordedPrice>, StoreError>> {
        let pair = pair.to_owned();
        Box::pin(async move { self.read(&pair, from, to).await.map_err(Failure::told) })
    }
}
