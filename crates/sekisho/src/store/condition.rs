//! What an opened store would be, as seen without changing anything in it.

/// The condition of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How old its schema is.
    pub schema: SchemaAge,
    /// What is in it, if the schema is the one we know.
    pub contents: Option<Contents>,
}

/// How old a schema is. A newer one than ours is an error: nothing of it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaAge {
    /// Nothing is there yet; a server makes it when it starts.
    Absent,
    /// A server brings it up to date when it starts.
    Older {
        /// The version it has.
        found: i64,
        /// The version it will have.
        known: i64,
    },
    /// The version we know.
    Current(i64),
}

/// What is in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Registered clients.
    pub clients: u64,
    /// Logins on their way.
    pub logins: u64,
    /// The id of the key that sealed last, if one has.
    pub sealing_key: Option<String>,
}
