//! What MCP messages look like, for every revision (JSON-RPC 2.0 with MCP's own rules on top).
//!
//! A message is parsed once and only as deep as a decision needs: what is inside `params` and
//! `result` stays the text that came, so that fields nobody here knows of survive.

mod discover;
mod edits;
mod error;
mod forwarded;
mod initialize;
mod input_required;
mod json;
mod list;
mod log_level;
mod member_name;
mod merged;
mod message;
mod mirrored_header;
mod request_meta;
mod tool;
mod version;

pub use discover::DiscoverResult;
pub use edits::Edits;
pub use error::{
    HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY, McpError, PARSE_ERROR, RESOURCE_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
};
pub use forwarded::{
    ParamMembers, StatelessWords, params_for_handshake, progress_token_in, progress_under,
    result_for_handshake, result_with_tools, result_without_cache_scope, subscription_id_in,
};
pub use initialize::{InitializeParams, InitializeResult};
pub use input_required::{InputRequestText, InputRequiredResult};
pub use json::Json;
pub use list::require_first_page;
pub use log_level::LogLevel;
pub use member_name::{
    MEMBER_NAME_CHARS_MAX, MemberName, MemberNameError, TOOL_NAME_CHARS_MAX, owner_of_name,
    owner_of_uri,
};
pub use merged::{
    Addressed, CURSOR_BYTES_MAX, List, MEMBER_CURSOR_BYTES_MAX, Page, PageAsked, page_of_all,
    params_with_cursor, result_of_member,
};
pub use message::{
    BATCH_MESSAGES_MAX, Incoming, JSON_DEPTH_MAX, Message, MessageError, Notification,
    REQUEST_ID_BYTES_MAX, Request, RequestId, Response, write_error, write_notification,
    write_request, write_result,
};
pub use mirrored_header::{
    HeaderValueError, MirroredParam, mirrored_params, unwrap_header_value, wrap_header_value,
};
pub use request_meta::{ParamsOutline, RequestMeta, RequiredMeta};
pub use tool::{Content, ResourceContents, ToolCallParams, ToolResult};
pub use version::ProtocolVersion;
