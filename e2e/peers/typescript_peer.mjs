// A server of the TypeScript SDK that is measured: one constant tool on Express, behind a token that the SDK's own middleware asks
// a verifier for. Its ways: `sessions` (answers as event streams, the default) and `json`.
import { randomUUID } from 'node:crypto';
import { createMcpExpressApp, requireBearerAuth } from '@modelcontextprotocol/express';
import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer, OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server';

const [port, token, way] = process.argv.slice(2);
const holders = new Map([[token, { token, clientId: 'bench', scopes: ['fortune'], expiresAt: Math.floor(Date.now() / 1000) + 86_400 }]]);
const verifier = {
  async verifyAccessToken(asked) {
    const holder = holders.get(asked);
    if (!holder) throw new OAuthError(OAuthErrorCode.InvalidToken, 'nobody holds this token');
    return holder;
  },
};

function fortuneTeller() {
  const server = new McpServer({ name: 'measured', version: '1.0.0' });
  server.registerTool('fortune', { description: 'Tells a fortune.' }, async () => ({ content: [{ type: 'text', text: '今日の運勢は: 大吉' }] }));
  return server;
}

const sessions = new Map();

async function sessionOf(request) {
  const known = sessions.get(request.headers['mcp-session-id']);
  if (known) return known;
  const begun = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    enableJsonResponse: way === 'json',
    onsessioninitialized: (id) => void sessions.set(id, begun),
    onsessionclosed: (id) => void sessions.delete(id),
  });
  await fortuneTeller().connect(begun);
  return begun;
}

/** Whoever speaks 2026-07-28 has no session, and is answered by the SDK's handler for that. */
const withoutSession = toNodeHandler(createMcpHandler(fortuneTeller, { legacy: 'reject' }));

const app = createMcpExpressApp();
app.all('/mcp', requireBearerAuth({ verifier }), async (request, response) => {
  if (request.headers['mcp-protocol-version'] === '2026-07-28') return withoutSession(request, response, request.body);
  const session = await sessionOf(request);
  return session.handleRequest(request, response, request.body);
});
app.listen(Number(port), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${port}`));
