//! What MCP messages look like, for every revision (JSON-RPC 2.0 with MCP's own rules on top).
//!
//! A message is parsed once and only as deep as a decision needs: what is inside `params` and
//! `result` stays the text that came, so that fields nobody here knows of survive.

mod error;
mod initialize;
mod message;
mod tool;
mod version;

pub use error::{
    INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, McpError, PARSE_ERROR,
};
pub use initialize::InitializeParams;
pub use message::{
    BATCH_MESSAGES_MAX, Incoming, JSON_DEPTH_MAX, Message, MessageError, Notification,
    REQUEST_ID_BYTES_MAX, Request, RequestId, Response, write_error, write_notification,
    write_result,
};
pub use tool::{ToolCallParams, ToolResult};
pub use version::ProtocolVersion;
