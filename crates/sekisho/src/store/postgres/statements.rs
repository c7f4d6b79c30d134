//! What the files of `sql/` ask with: `sqlx`, with its errors as ours.

use sqlx::postgres::{PgArguments, PgPool, PgQueryResult, PgRow};
use sqlx::{ColumnIndex, Decode, Encode, Postgres, Row as _, Transaction, Type};

use crate::store::StoreError;

/// A row of an answer.
pub(super) type Row<'r> = &'r PgRow;

/// What a column can be read as.
pub(super) trait Column: for<'r> Decode<'r, Postgres> + Type<Postgres> {}
impl<T: for<'r> Decode<'r, Postgres> + Type<Postgres>> Column for T {}

/// What a parameter can be.
pub(super) trait Bind<'q>: Encode<'q, Postgres> + Type<Postgres> {}
impl<'q, T: Encode<'q, Postgres> + Type<Postgres>> Bind<'q> for T {}

pub(super) fn read<T: Column>(row: Row<'_>, column: impl ColumnIndex<PgRow>) -> sqlx::Result<T> {
    row.try_get(column)
}

/// A statement with its values, `$1` first.
pub(super) struct Query<'q>(Unasked<'q>);

pub(super) fn query<'q>(statement: &'static str) -> Query<'q> {
    Query(sqlx::query(statement))
}

impl<'q> Query<'q> {
    pub(super) fn bind(self, value: impl Bind<'q>) -> Self {
        Self(self.0.bind(value))
    }

    /// It may look at a whole table, which nobody here waits for.
    pub(super) const fn at_length(self) -> Self {
        self
    }

    /// Gives the number of rows that were written.
    pub(super) async fn execute(self, on: impl On) -> Result<u64, StoreError> {
        let done = on.execute(self.0).await.map_err(unavailable)?;
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch_all<T>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let found = on.fetch_all(self.0).await.map_err(unavailable)?;
        found.iter().map(read).collect()
    }

    pub(super) async fn fetch_optional<T>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let found = on.fetch_optional(self.0).await.map_err(unavailable)?;
        found.as_ref().map(read).transpose()
    }

    pub(super) async fn fetch_one<T>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = self.fetch_optional(on, read).await?;
        found.ok_or_else(|| unavailable(sqlx::Error::RowNotFound))
    }
}

type Unasked<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A transaction.
pub(super) struct Step(pub(super) Transaction<'static, Postgres>);

impl Step {
    /// Statements without values and answers.
    pub(super) async fn run(&mut self, statements: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(statements).execute(&mut *self.0).await.map_err(unavailable)?;
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.0.commit().await.map_err(unavailable)
    }
}

/// Where a statement is carried out: in a step, or on whichever connection is free.
pub(super) trait On: Sized + Send {
    fn execute(
        self,
        query: Unasked<'_>,
    ) -> impl Future<Output = sqlx::Result<PgQueryResult>> + Send;
    fn fetch_all(self, query: Unasked<'_>)
    -> impl Future<Output = sqlx::Result<Vec<PgRow>>> + Send;
    fn fetch_optional(
        self,
        query: Unasked<'_>,
    ) -> impl Future<Output = sqlx::Result<Option<PgRow>>> + Send;
}

impl On for &mut Step {
    async fn execute(self, query: Unasked<'_>) -> sqlx::Result<PgQueryResult> {
        query.execute(&mut *self.0).await
    }

    async fn fetch_all(self, query: Unasked<'_>) -> sqlx::Result<Vec<PgRow>> {
        query.fetch_all(&mut *self.0).await
    }

    async fn fetch_optional(self, query: Unasked<'_>) -> sqlx::Result<Option<PgRow>> {
        query.fetch_optional(&mut *self.0).await
    }
}

impl On for &PgPool {
    async fn execute(self, query: Unasked<'_>) -> sqlx::Result<PgQueryResult> {
        query.execute(self).await
    }

    async fn fetch_all(self, query: Unasked<'_>) -> sqlx::Result<Vec<PgRow>> {
        query.fetch_all(self).await
    }

    async fn fetch_optional(self, query: Unasked<'_>) -> sqlx::Result<Option<PgRow>> {
        query.fetch_optional(self).await
    }
}

pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
