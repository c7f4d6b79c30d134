//! What MCP messages look like, for every revision (JSON-RPC 2.0 with MCP's own rules on top).
