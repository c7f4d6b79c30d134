"""A server of fastmcp 4.x over Streamable HTTP, with the one tool that the other cases know."""

import random
import sys

from fastmcp import FastMCP

server = FastMCP("behind")


@server.tool(title="今日の運勢 fortune")
def fortune() -> str:
    """Tells a fortune."""
    return f"今日の運勢は: {random.choice(['大吉', '中吉', '小吉', '吉', '末吉', '凶', '大凶'])}"


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
