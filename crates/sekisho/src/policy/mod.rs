//! Who may do what behind the checkpoint: rules with conditions in CEL, and an [`McpService`] that
//! asks them first.
//!
//! ```text
//! tools/call, resources/read, prompts/get … ─▶ asked ─▶ rules ─▶ allowed ─▶ McpService
//!                                                         ├──▶ lacks a scope ─▶ 403, a challenge
//!                                                         └──▶ denied ─▶ as if it were not there
//! tools/list, resources/list, prompts/list ◀─ what could be allowed ◀─ list ◀─ McpService
//! ```
//!
//! One function decides calls and lists. A server without rules is open to everybody who may come in;
//! with the first rule all is closed that no rule allows. Never trusts what cannot be read: it is
//! refused.
//!
//! [`McpService`]: crate::mcp::McpService

mod admission;
mod asked;
mod expression;
mod list;
mod pattern;
mod rule;
mod ruled;
mod value;

pub use admission::Admission;
pub use expression::{Expression, ExpressionError, Scope};
pub use pattern::{Pattern, PatternError};
pub use rule::{Decision, Explained, Reach, Rule, Rules, Says, Verdict, Wish};
pub use ruled::Ruled;
