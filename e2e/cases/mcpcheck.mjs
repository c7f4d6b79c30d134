// mcpcheck, a scanner of others that takes a token: 2026-07-28 over Streamable HTTP, at the program as it is shipped and at the server that
// the conformance suite asks for.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, conformanceBinary, publicUrl, python2 } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { accessToken } from '../drivers/native_client.mjs';
import { must, mustBe } from './must.mjs';

const FIXTURES = `
[[server]]
name     = "conformance"
path     = "/"
upstream = { builtin = "conformance" }
`;

/** What it may warn of or leave open, and why: `check` or `check:code of the warning`. Anything else fails the case. */
const KNOWN = new Map([
  ['schemas:schemas.output_schema_missing', 'optional by the specification; nothing here answers with structured content'],
  ['discover:discover.logging_deprecated', 'of the fixtures only: the same server serves revisions that log'],
  ['errors', 'the one tool of `fortune` takes any arguments, so none are wrong'],
]);

const scan = ({ settings = '', program, scope }) => async (world) => {
  const sekisho = await world.sekisho(settings, {}, program);
  const token = await accessToken(world, sekisho.person, scope);
  const scanner = world.until(
    new Child('mcpcheck', python2, ['-m', 'mcpcheck', `${publicUrl}/mcp`, '--legacy-probes', '--probe', 'all', '--max-tools', '100', '--output', 'report.json'], {
      cwd: sekisho.folder,
      env: { ...process.env, MCPCHECK_TOKEN: token, NO_COLOR: '1' },
      log: join(sekisho.folder, 'mcpcheck.log'),
    }),
  );
  await scanner.gone;
  const report = JSON.parse(readFileSync(join(sekisho.folder, 'report.json'), 'utf8'));
  const wrong = report.checks.flatMap(({ name, status, summary, warnings, failures }) => [
    ...failures.map(({ message }) => `${name}: FAILED: ${message}`),
    ...warnings.filter(({ code }) => !KNOWN.has(`${name}:${code}`)).map(({ code, message }) => `${name}:${code}: ${message}`),
    ...(['pass', 'warn'].includes(status) || (status === 'inconclusive' && KNOWN.has(name)) ? [] : [`${name}: ${status}: ${summary}`]),
  ]);
  must(wrong.length === 0, wrong.join(' | '));
  mustBe('the era', report.era, 'dual-era');
  mustBe('the end of mcpcheck', scanner.ended, 'exit code 0');
  const { passed, warned, inconclusive, total } = report.summary;
  return `${passed} of ${total} checks passed, ${warned} warned, ${inconclusive} inconclusive`;
};

export const cases = [
  { name: 'mcpcheck-of-fortune', login: 'local', run: scan({ program: binary, scope: 'fortune' }) },
  { name: 'mcpcheck-of-the-conformance-server', login: 'local', run: scan({ settings: FIXTURES, program: conformanceBinary, scope: 'conformance' }) },
];
