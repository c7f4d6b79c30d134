"""A server of FastMCP that is measured: one constant tool behind a token that FastMCP's own verifier looks up. Its ways:
`sessions`, which is its default (sessions, answers as event streams), and `json` (neither)."""

import sys

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

port, token, way = sys.argv[1:]
server = FastMCP("measured", auth=StaticTokenVerifier(tokens={token: {"client_id": "bench", "scopes": ["fortune"]}}))


@server.tool
def fortune() -> str:
    """Tells a fortune."""
    return "今日の運勢は: 大吉"


plain = {"json_response": True, "stateless_http": True} if way == "json" else {}
# What is asked is not written down: nobody else does either.
server.run(transport="http", host="127.0.0.1", port=int(port), show_banner=False, log_level="warning", uvicorn_config={"access_log": False}, **plain)
