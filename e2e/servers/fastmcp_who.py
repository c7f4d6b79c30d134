"""A server of fastmcp 4.x that lets nobody in without a token that it verifies itself, and says what the token says."""

import json
import random
import sys

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

port, keys, issuer, audience, algorithm = sys.argv[1:]
verifier = JWTVerifier(jwks_uri=keys, issuer=issuer, audience=audience or None, algorithm=algorithm)
server = FastMCP("behind", auth=verifier)


@server.tool(title="今日の運勢 fortune")
def fortune() -> str:
    """Tells a fortune, and to whom."""
    claims = json.dumps(get_access_token().claims)
    return f"今日の運勢は: {random.choice(['大吉', '中吉', '小吉', '吉', '末吉', '凶', '大凶'])} {claims}"


server.run(transport="http", host="127.0.0.1", port=int(port), show_banner=False)
