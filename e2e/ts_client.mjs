// The TypeScript SDK's own client and OAuth (`@modelcontextprotocol/sdk`, 1.x), as a program with a browser: prints `open URL`, waits at
// its redirect URI, and at last prints one JSON object with what the tool answered.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { values: given } = parseArgs({ options: { url: { type: 'string' }, transport: { type: 'string' }, 'redirect-uri': { type: 'string' } } });
const redirectUri = new URL(given['redirect-uri']);
const Transport = given.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;

/** Keeps what the SDK wants kept, and sends the person on. */
const kept = {};
const authProvider = {
  redirectUrl: redirectUri.href,
  clientMetadata: {
    client_name: 'TypeScript SDK',
    redirect_uris: [redirectUri.href],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  redirectToAuthorization: (url) => console.log(`open ${url}`),
};

/** What the browser brings to the redirect URI. */
function arrival() {
  return new Promise((settle) => {
    const listener = createServer((request, response) => {
      const url = new URL(request.url, redirectUri);
      response.statusCode = url.pathname === redirectUri.pathname ? 200 : 404;
      response.end();
      if (response.statusCode === 200) settle(url.searchParams);
    });
    listener.listen(redirectUri.port, redirectUri.hostname);
  });
}

const open = () => {
  const transport = new Transport(new URL(given.url), { authProvider });
  const client = new Client({ name: 'e2e', version: '1' });
  return { transport, client, connected: client.connect(transport) };
};

const arrived = arrival();
const first = open();
const refusal = await first.connected.catch((error) => error);
if (!(refusal instanceof UnauthorizedError)) throw refusal ?? new Error('it was let in without a login');
const brought = await arrived;
await first.transport.finishAuth(brought.get('code'));
const { client, connected } = open();
await connected;
const { tools } = await client.listTools();
const { content } = await client.callTool({ name: tools[0].name, arguments: {} });
console.log(JSON.stringify({ answer: content[0].text, iss: brought.get('iss') }));
await client.close();
process.exit(0);
