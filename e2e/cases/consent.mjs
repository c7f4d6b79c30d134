// What only a real browser can say about our own pages: refusing comes back to the client, nobody can frame the question,
// and our own Content-Security-Policy does not stand in the way of the answer.
import { publicUrl } from '../settings.mjs';
import { NativeClient, callFortune } from '../drivers/native_client.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const begin = async (world, identity = {}) => {
  const sekisho = await world.sekisho(identity);
  const client = world.until(await NativeClient.register('Outside ring'));
  return { sekisho, client, person: await world.person(), attempt: client.begin() };
};

async function deniedAtConsent(world) {
  const { client, person, attempt } = await begin(world);
  await person.page.goto(attempt.url);
  await person.deny();
  const came = await client.arrival();
  mustBe('error', came.get('error'), 'access_denied');
  mustBe('state', came.get('state'), attempt.state);
  mustBe('iss', came.get('iss'), publicUrl);
  mustBe('code', came.get('code'), null);
}

async function framesAreRefused(world) {
  const { client, person, attempt } = await begin(world);
  const question = '<button name=decision value=approve>Allow</button>';
  client.pages = { '/framable': question, '/frame': '<iframe src="/framable"></iframe>', '/attack': `<iframe src="${attempt.url.replaceAll('&', '&amp;')}"></iframe>` };
  const framedButtons = async (page) => {
    await person.page.goto(page);
    await person.page.waitForLoadState('networkidle');
    const [, framed] = person.page.frames();
    must(framed, `${page} has no frame`);
    return framed.locator('button[name=decision]').count();
  };

  mustBe('buttons in a frame that may be shown (so this case can fail)', await framedButtons(`${client.origin}/frame`), 1);
  mustBe('buttons of the framed consent page', await framedButtons(`${client.origin}/attack`), 0);
  await person.picture('framed');
  // The same site, another port: nearer to us than any stranger, and refused all the same.
  const sibling = client.origin.replace('127.0.0.1', 'localhost');
  mustBe('buttons of the consent page framed from the same site', await framedButtons(`${sibling}/attack`), 0);

  const answer = await fetch(attempt.url);
  const headers = Object.fromEntries(answer.headers);
  const policy = headers['content-security-policy'] ?? '';
  must(policy.includes("frame-ancestors 'none'"), `Content-Security-Policy lacks frame-ancestors 'none': ${policy}`);
  must(!policy.includes('form-action'), `Content-Security-Policy has form-action: ${policy}`);
  mustBe('X-Frame-Options', headers['x-frame-options']?.toUpperCase(), 'DENY');
  mustBe('Referrer-Policy', headers['referrer-policy'], 'same-origin');
  mustBe('X-Content-Type-Options', headers['x-content-type-options'], 'nosniff');
  must((headers['cache-control'] ?? '').includes('no-store'), `Cache-Control is ${headers['cache-control']}`);
}

const finishWith = async (client, attempt) => {
  const came = await client.arrival();
  mustBe('error', came.get('error'), null);
  mustBe('state', came.get('state'), attempt.state);
  mustBe('iss', came.get('iss'), publicUrl);
  const tokens = await client.redeem(came.get('code'), attempt);
  mustBe('the status of /token', tokens.status, 200);
  mustBeAFortune(await callFortune(tokens.access_token));
};

async function finishesWithLocalLogin(world) {
  const { sekisho, client, person, attempt } = await begin(world);
  await person.page.goto(attempt.url);
  await person.approve();
  await person.logIn(sekisho.person);
  await finishWith(client, attempt);
}

async function finishesWithKeycloak(world) {
  // A login that asks for offline access leaves no session of the browser behind at Keycloak, and there is to be one here.
  const { sekisho, client, person, attempt } = await begin(world, { session: 'login-only' });
  await person.page.goto(attempt.url);
  await person.approve();
  await person.logInAtKeycloak(sekisho.person);
  await finishWith(client, attempt);

  // Now Keycloak knows the person and asks nothing: one chain of redirects from our form to the client, over three origins.
  const again = client.begin();
  person.asked.length = 0;
  await person.page.goto(again.url);
  await person.approve();
  await finishWith(client, again);
}

export const cases = [
  { name: 'denied-at-consent', login: 'local', run: deniedAtConsent },
  { name: 'consent-page-in-an-iframe-is-refused', login: 'local', run: framesAreRefused },
  { name: 'own-csp-does-not-block-the-finish-local', login: 'local', run: finishesWithLocalLogin },
  { name: 'own-csp-does-not-block-the-finish', login: '26.1.0', run: finishesWithKeycloak },
];
