// The TypeScript SDK as a client whose company's identity provider vouches for people (enterprise-managed authorization): trades an ID token
// for an ID-JAG there, that for an access token at the server's authorization server, and runs the first tool. The server's URL is
// its last argument; the rest is in MCP_CONFORMANCE_CONTEXT, as the conformance suite has it.
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport, requestJwtAuthorizationGrant } from '@modelcontextprotocol/client';

const given = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT);
const authProvider = new CrossAppAccessProvider({
  clientId: given.client_id,
  clientSecret: given.client_secret,
  assertion: async ({ authorizationServerUrl: audience, resourceUrl: resource, scope, fetchFn }) => {
    const asked = { tokenEndpoint: given.idp_token_endpoint, audience, resource, scope, idToken: given.idp_id_token, clientId: given.idp_client_id, fetchFn };
    return (await requestJwtAuthorizationGrant(asked)).jwtAuthGrant;
  },
});
const client = new Client({ name: 'cross-app', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv.at(-1)), { authProvider }));
const { tools } = await client.listTools();
const { content } = tools.length > 0 ? await client.callTool({ name: tools[0].name, arguments: {} }) : { content: [{ text: '' }] };
console.log(JSON.stringify({ answer: content[0]?.text }));
await client.close();
