// A client that is a program with a browser: it prints `open URL`, a person goes there, and at last it prints one JSON object.
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { callbackPort, root } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const OPEN_MS_MAX = 30_000;
const ANSWER_MS_MAX = 30_000;

/** Lets `person` sign in for the program, and answers what it said: what the tool answered, and which version was agreed on. */
export async function runProgram(world, command, args, person, { folder, person: who }) {
  if (!existsSync(command)) throw new Error(`${relative(root, command)} is not there: run e2e/install`);
  await mustBeFree(callbackPort, 'the client', 'E2E_CALLBACK_PORT');
  const redirectUri = ['--redirect-uri', `http://localhost:${callbackPort}/callback`];
  const program = world.until(new Child('the client', command, [...args, ...redirectUri], { cwd: folder, env: process.env, log: join(folder, 'client.log') }));
  const [, url] = await program.printed(/^open (http\S+)$/m, OPEN_MS_MAX);
  await person.page.goto(url);
  await person.approve();
  await person.logIn(who);
  const [line] = await program.printed(/^\{"answer".*\}$/m, ANSWER_MS_MAX);
  return JSON.parse(line);
}
