"""A server of the Python SDK's 1.x line over HTTP+SSE, with the one tool that the other cases know."""

import random
import sys

from mcp.server.fastmcp import FastMCP

server = FastMCP("behind", host="127.0.0.1", port=int(sys.argv[1]))


@server.tool(title="今日の運勢 fortune")
def fortune() -> str:
    """Tells a fortune."""
    return f"今日の運勢は: {random.choice(['大吉', '中吉', '小吉', '吉', '末吉', '凶', '大凶'])}"


server.run(transport="sse")
