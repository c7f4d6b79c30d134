// The TypeScript SDK's own client and OAuth, from the package that is named, of the 1.x or the 2.x line: signs in, runs one tool, the first unless another is named, says which version it speaks.
// The way of a program with a browser: prints `open URL`, waits at its redirect URI, and at last prints one JSON object.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values: given } = parseArgs({
  options: { sdk: { type: 'string' }, url: { type: 'string' }, transport: { type: 'string' }, mode: { type: 'string' }, 'redirect-uri': { type: 'string' }, tool: { type: 'string' }, arguments: { type: 'string', default: '{}' } },
});
const redirectUri = new URL(given['redirect-uri']);
const isTwoX = given.sdk.endsWith('/client');
const sdk = await (isTwoX ? import(given.sdk) : oneX(given.sdk));

async function oneX(name) {
  const parts = ['index', 'sse', 'streamableHttp', 'auth'].map((part) => import(`${name}/client/${part}.js`));
  return Object.assign({}, ...(await Promise.all(parts)));
}

/** Keeps what the SDK wants kept, and sends the person on by printing where to. */
class Memory {
  kept = {};
  redirectUrl = redirectUri.href;
  clientMetadata = {
    client_name: given.sdk,
    redirect_uris: [redirectUri.href],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  clientInformation = () => this.kept.client;
  saveClientInformation = (client) => void (this.kept.client = client);
  tokens = () => this.kept.tokens;
  saveTokens = (tokens) => void (this.kept.tokens = tokens);
  codeVerifier = () => this.kept.verifier;
  saveCodeVerifier = (verifier) => void (this.kept.verifier = verifier);
  redirectToAuthorization = (url) => console.log(`open ${url}`);
}

/** The first browser that comes to the redirect URI. */
function arrival() {
  return new Promise((settle) => {
    const listener = createServer((request, response) => {
      const url = new URL(request.url, redirectUri);
      response.statusCode = url.pathname === redirectUri.pathname ? 200 : 404;
      response.end();
      if (response.statusCode === 200) listener.close(() => settle(url.searchParams));
    });
    listener.listen(redirectUri.port, redirectUri.hostname);
  });
}

async function connect(authProvider) {
  const client = new sdk.Client({ name: 'e2e', version: '1' }, { versionNegotiation: { mode: given.mode } });
  const Transport = given.transport === 'sse' ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport;
  const transport = new Transport(new URL(given.url), { authProvider });
  let version;
  const told = transport.setProtocolVersion?.bind(transport);
  // The 1.x line tells its transport, and since 1.13 only.
  transport.setProtocolVersion = (agreed) => {
    version = agreed;
    told?.(agreed);
  };
  const opened = client.connect(transport);
  return { client, transport, opened, version: () => client.getNegotiatedProtocolVersion?.() ?? version };
}

const provider = new Memory();
const arrived = arrival();
let connection = await connect(provider);
try {
  await connection.opened;
  throw new Error('it was let in without a login');
} catch (error) {
  if (!(error instanceof sdk.UnauthorizedError)) throw error;
}
const brought = await arrived;
await connection.transport.finishAuth(isTwoX ? brought : brought.get('code'));
connection = await connect(provider);
await connection.opened;
const { tools } = await connection.client.listTools();
const { content } = await connection.client.callTool({ name: given.tool ?? tools[0].name, arguments: JSON.parse(given.arguments) });
console.log(JSON.stringify({ answer: content[0].text, version: connection.version(), iss: brought.get('iss') }));
await connection.client.close();
process.exit(0);
