// The official conformance suite's mode `client`: it is the server, and judges the program's own client, which talks to the servers behind
// the program. Every scenario of a revision is run, for clients of both eras before the program, or named here with the reason why it is not.
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { binary, conformance, requirements, ring, scratch } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { must } from './must.mjs';

const SCENARIO_MS_MAX = 40_000;

/** What is asked of another client than ours, and why. */
const NOT_OURS = [
  [/^auth\//, 'a client that logs in: a server behind the program gets the credentials that its operator wrote, and no login'],
];
const isOurs = (scenario) => !NOT_OURS.some(([names]) => names.test(scenario));

/** Checks that nothing was there for: the handshake of a revision that has none. */
const NOT_EXERCISED = /^ClientMcpMethodHeader_(initialize|notifications_initialized)$|^ClientDeclares\w+Capability$/;

/** What the suite wants of clients under a revision, scored or not. */
function scenariosOf(version) {
  const text = readFileSync(join(requirements, `${version}.yaml`), 'utf8');
  const [, scored] = text.match(/^client:\n((?:  - .*\n| *#.*\n|\n)+)/m);
  const names = [...scored.matchAll(/^  - (\S+)/gm)].map(([, name]) => name);
  const others = [...text.matchAll(/- scenario: (\S+)\n +leg: client/g)].map(([, name]) => name);
  return [...names, ...others];
}

/** Runs one scenario: how many checks passed, or what was wrong. */
async function judge(world, scenario, version, speaks, folder) {
  const results = join(folder, 'results');
  const command = `${process.execPath} ${join(ring, 'clients', 'through_us.mjs')}`;
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEKISHO_'))), PROGRAM: binary, SPEAKS: speaks, NO_COLOR: '1' };
  const args = [conformance, 'client', '--command', command, '--scenario', scenario, '--spec-version', version, '--output-dir', results];
  const run = world.until(new Child(scenario, process.execPath, args, { cwd: folder, env, log: join(folder, `${scenario}.log`) }));
  await Promise.race([run.gone, new Promise((_, refuse) => setTimeout(() => refuse(new Error(`${scenario} does not end`)), SCENARIO_MS_MAX).unref())]);
  const written = readdirSync(results, { recursive: true }).find((path) => path.startsWith(`${scenario}-`) && path.endsWith('checks.json'));
  must(written, `${scenario}: the suite wrote nothing down: ${run.lastWords()}`);
  const checks = JSON.parse(readFileSync(join(results, written), 'utf8'));
  const wrong = checks.filter(({ name, status }) => !(['SUCCESS', 'INFO'].includes(status) || (status === 'SKIPPED' && NOT_EXERCISED.test(name))));
  const passed = checks.filter(({ status }) => status === 'SUCCESS').length;
  if (wrong.length > 0) return { wrong: `${scenario}: ${wrong.map(({ name, status, errorMessage }) => `${name}: ${status}: ${errorMessage}`).join('; ')}` };
  if (run.ended !== 'exit code 0' || passed === 0) return { wrong: `${scenario}: ${passed} passed, ${run.ended}: ${run.lastWords()}` };
  return { passed };
}

const judged = (version, speaks) => async (world) => {
  const folder = join(scratch, 'runs', world.name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const all = scenariosOf(version);
  const ours = all.filter(isOurs);
  must(ours.length >= 5, `only ${ours.length} of ${all.length} scenarios are ours`);
  let passed = 0;
  const wrong = [];
  for (const scenario of ours) {
    const verdict = await judge(world, scenario, version, speaks, folder);
    if (verdict.wrong) wrong.push(verdict.wrong);
    else passed += verdict.passed;
  }
  must(wrong.length === 0, `${wrong.length} of ${ours.length} scenarios: ${wrong.join(' | ')}`);
  return `${ours.length} scenarios, ${passed} checks; ${all.length - ours.length} are for other clients`;
};

export const cases = [
  { name: 'conformance-client-2025-11-25-for-clients-of-2025-11-25', login: 'local', run: judged('2025-11-25', '2025-11-25') },
  { name: 'conformance-client-2025-11-25-for-clients-of-2026-07-28', login: 'local', run: judged('2025-11-25', '2026-07-28') },
  { name: 'conformance-client-2026-07-28-for-clients-of-2025-11-25', login: 'local', run: judged('2026-07-28', '2025-11-25') },
  { name: 'conformance-client-2026-07-28-for-clients-of-2026-07-28', login: 'local', run: judged('2026-07-28', '2026-07-28') },
];
