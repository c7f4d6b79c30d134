//! What the files of `sql/` ask with. Each statement is carried out where it is asked for, on the
//! caller's own thread: it takes microseconds, and handing it to another takes longer. Its futures are
//! ready at once, but for the wait for a turn.

use std::cell::Cell;

use rusqlite::types::{FromSql, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, Statement};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::readers::Readers;
use super::writer::{Step, Writer};
use crate::store::StoreError;

/// A row of an answer, while it is looked at.
pub(super) type Row<'r> = &'r RowReader<'r>;

/// Columns are read by name and mostly one after the other: the next one is looked at first.
pub(super) struct RowReader<'r> {
    row: &'r rusqlite::Row<'r>,
    next: Cell<usize>,
}

impl<'r> RowReader<'r> {
    const fn new(row: &'r rusqlite::Row<'r>) -> Self {
        Self { row, next: Cell::new(0) }
    }
}

/// By what a column is read: its number or its name.
pub(super) trait ColumnIndex {
    fn find(self, row: Row<'_>) -> rusqlite::Result<usize>;
}

impl ColumnIndex for usize {
    fn find(self, _: Row<'_>) -> rusqlite::Result<usize> {
        Ok(self)
    }
}

impl ColumnIndex for &str {
    fn find(self, row: Row<'_>) -> rusqlite::Result<usize> {
        let statement: &Statement<'_> = row.row.as_ref();
        let next = row.next.get();
        let found = (next..statement.column_count())
            .chain(0..next)
            .find(|place| statement.column_name(*place).is_ok_and(|name| name == self))
            .ok_or_else(|| rusqlite::Error::InvalidColumnName(self.to_owned()))?;
        row.next.set(found + 1);
        Ok(found)
    }
}

/// What a column can be read as.
pub(super) trait Column: FromSql {}
impl<T: FromSql> Column for T {}

pub(super) fn read<T: Column>(row: Row<'_>, column: impl ColumnIndex) -> rusqlite::Result<T> {
    row.row.get(column.find(row)?)
}

/// How long a statement may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Microseconds.
    Short,
    /// It may look at a whole table.
    Long,
}

/// A statement with its values, `$1` first.
pub(super) struct Query<'q> {
    statement: &'static str,
    values: Vec<Value<'q>>,
    length: Length,
}

pub(super) fn query<'q>(statement: &'static str) -> Query<'q> {
    Query { statement, values: Vec::with_capacity(VALUES_USUAL), length: Length::Short }
}

impl<'q> Query<'q> {
    pub(super) fn bind(mut self, value: impl Bind<'q>) -> Self {
        self.values.push(value.value());
        self
    }

    /// It may look at a whole table: other requests go on meanwhile.
    pub(super) const fn at_length(mut self) -> Self {
        self.length = Length::Long;
        self
    }

    /// Gives the number of rows that were written.
    pub(super) async fn execute(self, on: impl On) -> Result<u64, StoreError> {
        on.with(self.length, |connection| {
            self.carry_out(connection, |statement| {
                Ok(statement.raw_execute().map_err(unavailable)? as u64)
            })
        })
        .await
    }

    pub(super) async fn fetch_all<T: Send>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        on.with(self.length, |connection| {
            self.carry_out(connection, |statement| {
                let mut rows = statement.raw_query();
                let mut found = Vec::new();
                while let Some(row) = rows.next().map_err(unavailable)? {
                    found.push(read(&RowReader::new(row))?);
                }
                Ok(found)
            })
        })
        .await
    }

    pub(super) async fn fetch_optional<T: Send>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<Option<T>, StoreError> {
        on.with(self.length, |connection| {
            self.carry_out(connection, |statement| {
                let mut rows = statement.raw_query();
                let row = rows.next().map_err(unavailable)?;
                row.map(|row| read(&RowReader::new(row))).transpose()
            })
        })
        .await
    }

    pub(super) async fn fetch_one<T: Send>(
        self,
        on: impl On,
        read: impl Fn(Row<'_>) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let found = self.fetch_optional(on, read).await?;
        found.ok_or_else(|| unavailable(rusqlite::Error::QueryReturnedNoRows))
    }

    fn carry_out<T>(
        &self,
        connection: &Connection,
        run: impl FnOnce(&mut CachedStatement<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut statement = connection.prepare_cached(self.statement).map_err(unavailable)?;
        self.bind_to(&mut statement).map_err(unavailable)?;
        match self.length {
            Length::Short => run(&mut statement),
            Length::Long => aside(|| run(&mut statement)),
        }
    }

    /// `SQLite` numbers `$1`, `$2`, … as they come in the text; the name says which is meant.
    fn bind_to(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<()> {
        for place in 1..=statement.parameter_count() {
            let value = statement
                .parameter_name(place)
                .and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1))
                .and_then(|number| self.values.get(number));
            let Some(value) = value else {
                return Err(rusqlite::Error::InvalidParameterCount(place, self.values.len()));
            };
            statement.raw_bind_parameter(place, value)?;
        }
        Ok(())
    }
}

/// Where a statement is carried out: in a step, in one of its own, or by a reader.
pub(super) trait On: Send {
    fn with<T: Send>(
        self,
        length: Length,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

impl On for &mut Step {
    async fn with<T: Send>(
        self,
        _: Length,
        mut work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        // A long step, as a sweep's, lets others use the thread now and then.
        tokio::task::coop::consume_budget().await;
        work(self.connection()?)
    }
}

impl On for &Writer {
    async fn with<T: Send>(
        self,
        length: Length,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut step = self.begin().await?;
        let done = step.with(length, work).await?;
        step.commit().await?;
        Ok(done)
    }
}

impl On for &Readers {
    async fn with<T: Send>(
        self,
        length: Length,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.ask(length, work).await
    }
}

/// What a parameter can be.
pub(super) trait Bind<'q> {
    fn value(self) -> Value<'q>;
}

pub(super) enum Value<'q> {
    Null,
    Number(i64),
    Text(&'q str),
    OwnText(String),
    Bytes(&'q [u8]),
    OwnBytes(Vec<u8>),
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::OwnText(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::OwnBytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Bind<'_> for i64 {
    fn value(self) -> Value<'static> {
        Value::Number(self)
    }
}

impl Bind<'_> for &i64 {
    fn value(self) -> Value<'static> {
        Value::Number(*self)
    }
}

impl Bind<'_> for bool {
    fn value(self) -> Value<'static> {
        Value::Number(self.into())
    }
}

impl<'q> Bind<'q> for &'q str {
    fn value(self) -> Value<'q> {
        Value::Text(self)
    }
}

impl<'q> Bind<'q> for &'q String {
    fn value(self) -> Value<'q> {
        Value::Text(self)
    }
}

impl Bind<'_> for String {
    fn value(self) -> Value<'static> {
        Value::OwnText(self)
    }
}

impl<'q> Bind<'q> for &'q [u8] {
    fn value(self) -> Value<'q> {
        Value::Bytes(self)
    }
}

impl Bind<'_> for Vec<u8> {
    fn value(self) -> Value<'static> {
        Value::OwnBytes(self)
    }
}

impl<'q> Bind<'q> for &'q Vec<u8> {
    fn value(self) -> Value<'q> {
        Value::Bytes(self)
    }
}

impl<'q, T: Bind<'q>> Bind<'q> for Option<T> {
    fn value(self) -> Value<'q> {
        self.map_or(Value::Null, Bind::value)
    }
}

impl<'q> Bind<'q> for &'q Option<String> {
    fn value(self) -> Value<'q> {
        self.as_ref().value()
    }
}

/// Does what waits for the disk or looks at a lot, while other requests go on.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // Nobody else is here.
        _ => work(),
    }
}

pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// Whether another process holds what was asked for, so that asking again may help.
pub(super) fn is_busy(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    source
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code)
        .is_some_and(|code| code == ErrorCode::DatabaseBusy)
}

/// Most statements have no more values; the others grow.
const VALUES_USUAL: usize = 8;
