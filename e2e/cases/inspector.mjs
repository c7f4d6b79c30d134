// MCP Inspector in Chromium: connect, consent, log in, run the tool, read the answer.
import { publicUrl } from '../settings.mjs';
import { Inspector } from '../drivers/inspector.mjs';
import { mustBeAFortune } from './must.mjs';

const endpoints = { sse: '/sse', http: '/mcp' };

const drive = (transport, logIn) => async (world) => {
  const sekisho = await world.sekisho();
  const inspector = world.until(await Inspector.start(transport, `${publicUrl}${endpoints[transport]}`, sekisho.folder));
  const person = await world.person();
  await inspector.connect(person);
  await person.approve();
  await logIn(person, sekisho.person);
  mustBeAFortune(await inspector.runFortune(person));
};

const withLocalLogin = (person, who) => person.logIn(who);
const withKeycloak = (person, who) => person.logInAtKeycloak(who);

export const cases = [
  { name: 'inspector-http-local', login: 'local', run: drive('http', withLocalLogin) },
  { name: 'inspector-sse-keycloak-26.1.0', login: '26.1.0', run: drive('sse', withKeycloak) },
  { name: 'inspector-http-keycloak-26.1.0', login: '26.1.0', run: drive('http', withKeycloak) },
  { name: 'inspector-http-keycloak-26.7.0', login: '26.7.0', run: drive('http', withKeycloak) },
];
