//! Which instances there are: a row each, counted up for as long as it lives. The table is not logged by
//! the database, so that a beat writes next to nothing; after a crash of the database it is empty, and
//! the next beats fill it again.

use std::net::IpAddr;

use super::{PostgresStore, Row, query, read, rows, unavailable};
use crate::store::StoreError;

/// The most instances that are looked at.
pub const INSTANCES_MAX: u16 = 1_000;

/// A row that an instance keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSeen {
    /// Names the process.
    pub id: String,
    /// Where others reach it: address and port.
    pub address: String,
    /// Grows for as long as it lives.
    pub beat: i64,
}

impl PostgresStore {
    /// Notes that the instance lives, and gives all that are noted, at most [`INSTANCES_MAX`].
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn note_instance(
        &self,
        id: &str,
        address: &str,
    ) -> Result<Vec<InstanceSeen>, StoreError> {
        query(
            "INSERT INTO instances (id, address, beat) VALUES ($1, $2, 1)
             ON CONFLICT (id) DO UPDATE SET address = excluded.address, beat = instances.beat + 1",
        )
        .bind(id)
        .bind(address)
        .execute(&self.writer)
        .await?;
        query("SELECT id, address, beat FROM instances ORDER BY id LIMIT $1")
            .bind(i64::from(INSTANCES_MAX))
            .fetch_all(&self.readers, instance)
            .await
    }

    /// Forgets an instance that did not say anything since that row was read.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn forget_instance(&self, seen: &InstanceSeen) -> Result<(), StoreError> {
        query("DELETE FROM instances WHERE id = $1 AND beat = $2")
            .bind(&seen.id)
            .bind(seen.beat)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Forgets an instance that ends.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn remove_instance(&self, id: &str) -> Result<(), StoreError> {
        query("DELETE FROM instances WHERE id = $1").bind(id).execute(&self.writer).await?;
        Ok(())
    }

    /// The address that the database sees us at; nothing where it is reached without a network.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn seen_at(&self) -> Result<Option<IpAddr>, StoreError> {
        let seen = query("SELECT COALESCE(host(inet_client_addr()), '')")
            .fetch_one(&self.readers, rows::first::<String>)
            .await?;
        Ok(seen.parse().ok())
    }
}

fn instance(row: Row<'_>) -> Result<InstanceSeen, StoreError> {
    Ok(InstanceSeen {
        id: read(row, "id").map_err(unavailable)?,
        address: read(row, "address").map_err(unavailable)?,
        beat: read(row, "beat").map_err(unavailable)?,
    })
}
