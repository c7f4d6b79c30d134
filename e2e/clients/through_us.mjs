// A client for the conformance suite's mode `client`, which runs it with the URL of a server of its own and judges what comes there. It
// puts the program before that server (`sekisho stdio --upstream URL`) and talks to the program alone, in the words of the era that SPEAKS
// names: what the suite judges is the program's own client.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_CONTEXT: context = '{}', SPEAKS: speaks, PROGRAM: program } = process.env;
const CAPABILITIES = { elicitation: {}, sampling: {}, roots: {} };
const INFO = { name: 'through-us', version: '1' };
const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': CAPABILITIES,
  'io.modelcontextprotocol/clientInfo': INFO,
};

class Client {
  #waiting = new Map();
  #program;
  /** What happens before somebody answers what they are asked, once. */
  meanwhile;

  constructor(url) {
    this.#program = spawn(program, ['stdio', '--upstream', url], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.gone = new Promise((settle) => this.#program.on('close', settle));
    this.gone.then(() => this.#waiting.forEach(([, refuse, asked]) => refuse(new Error(`${asked}: the program ended`))));
    createInterface({ input: this.#program.stdout }).on('line', (line) => this.#hear(JSON.parse(line)));
  }

  #say(message) {
    this.#program.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  }

  async #hear({ id, method, params, result, error }) {
    if (method === undefined) {
      const [settle, refuse, asked] = this.#waiting.get(id);
      this.#waiting.delete(id);
      return error ? refuse(new Error(`${asked}: ${JSON.stringify(error)}`)) : settle(result);
    }
    if (id !== undefined) this.#say({ id, result: await this.#answer({ method, params }) });
  }

  ask(method, params = {}) {
    const id = (this.lastId = (this.lastId ?? 0) + 1);
    const said = speaks === '2026-07-28' ? { ...params, _meta: META } : params;
    return new Promise((settle, refuse) => {
      this.#waiting.set(id, [settle, refuse, method]);
      this.#say({ id, method, params: said });
    });
  }

  async greet() {
    if (speaks === '2026-07-28') return this.ask('server/discover');
    const answer = await this.ask('initialize', { protocolVersion: speaks, capabilities: CAPABILITIES, clientInfo: INFO });
    this.#say({ method: 'notifications/initialized' });
    return answer;
  }

  async call(name, args) {
    let more = {};
    for (;;) {
      const result = await this.ask('tools/call', { name, arguments: args, ...more });
      if (result.resultType !== 'input_required') return result;
      const inputResponses = {};
      for (const [key, question] of Object.entries(result.inputRequests)) inputResponses[key] = await this.#answer(question);
      more = { inputResponses, requestState: result.requestState };
    }
  }

  /** Whoever is asked accepts what is proposed. */
  async #answer({ method, params }) {
    if (method !== 'elicitation/create') throw new Error(`nobody was to ask ${method}`);
    const meanwhile = this.meanwhile;
    this.meanwhile = undefined;
    await meanwhile?.();
    const proposed = Object.entries(params.requestedSchema.properties).map(([name, { type, default: usual }]) => [name, usual ?? SOME[type]]);
    return { action: 'accept', content: Object.fromEntries(proposed) };
  }

  async end() {
    this.#program.stdin.end();
    const code = await this.gone;
    if (code !== 0) throw new Error(`the program ended with ${code}`);
  }
}

const SOME = { string: 'x', integer: 1, number: 1, boolean: true, object: {}, array: [], null: null };
const someArguments = ({ properties = {} }) => Object.fromEntries(Object.entries(properties).map(([name, { type }]) => [name, SOME[type]]));

/** What the scenario wants to see, beyond a greeting and a list of the tools. */
const scenarios = {
  initialize: () => {},
  tools_call: async (client) => {
    const { content } = await client.call('add_numbers', { a: 2, b: 3 });
    if (!/5/.test(content[0].text)) throw new Error(`2 and 3 are ${content[0].text}`);
  },
  'elicitation-sep1034-client-defaults': (client) => client.call('test_client_elicitation_defaults', {}),
  'sse-retry': (client) => client.call('test_reconnection', {}),
  'request-metadata': () => {},
  'sep-2322-client-request-state': async (client) => {
    client.meanwhile = () => client.call('test_mrtr_unrelated', {});
    for (const name of ['test_mrtr_echo_state', 'test_mrtr_no_state', 'test_mrtr_no_result_type']) await client.call(name, {});
  },
  'http-standard-headers': async (client, tools) => {
    for (const { name } of tools) await client.call(name, {});
    for (const { uri } of (await client.ask('resources/list')).resources) await client.ask('resources/read', { uri });
    for (const { name } of (await client.ask('prompts/list')).prompts) await client.ask('prompts/get', { name });
  },
  'http-custom-headers': async (client) => {
    for (const { name, arguments: args } of JSON.parse(context).toolCalls) await client.call(name, args);
  },
  // All that the program shows: what a client must not call, it must not show.
  'http-invalid-tool-headers': async (client, tools) => {
    for (const { name, inputSchema } of tools) await client.call(name, someArguments(inputSchema));
  },
  'json-schema-ref-no-deref': () => {},
  'json-schema-2020-12-preservation': async (client, tools) => {
    const { inputSchema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
    await client.call('json_schema_echo', { schema: inputSchema });
  },
};

const client = new Client(process.argv.at(-1));
await client.greet();
const { tools } = await client.ask('tools/list');
await scenarios[scenario](client, tools);
await client.end();
