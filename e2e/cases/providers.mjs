// Identity providers beside Keycloak, and a choice between several, in a browser.
import { publicUrl } from '../settings.mjs';
import { NativeClient, callFortune, statusOf } from '../drivers/native_client.mjs';
import { OidcProvider } from '../drivers/oidc_provider.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const GONE_MS_MAX = 20_000;

/** Approves, goes where `go` leads, and gives what the client got. */
async function logIn(world, go) {
  const client = world.until(await NativeClient.register('Outside ring'));
  const person = await world.person();
  const attempt = client.begin();
  await person.page.goto(attempt.url);
  await person.approve();
  await go(person);
  const came = await client.arrival();
  mustBe('state', came.get('state'), attempt.state);
  mustBe('iss', came.get('iss'), publicUrl);
  return { client, person, came, redeem: () => client.redeem(came.get('code'), attempt) };
}

const choose = async (person, name, picture) => {
  await person.page.locator(`button[name=provider][value=${name}]`).waitFor();
  if (picture) await person.picture(picture);
  await person.page.locator(`button[name=provider][value=${name}]`).click();
};

async function becomes(status, path, token) {
  const since = Date.now();
  while ((await statusOf(path, token)) !== status) {
    if (Date.now() - since > GONE_MS_MAX) throw new Error(`${path} does not answer ${status} after ${GONE_MS_MAX / 1000} s`);
    await new Promise((settle) => setTimeout(settle, 250));
  }
}

/** What its ID token leaves out is at its userinfo endpoint, and decides who comes in; who is taken away there is out here. */
async function nodeOidcProvider(world) {
  const provider = world.until(await OidcProvider.start(world.name));
  await world.sekisho(`\n[identity]\n${provider.settings}recheck = "1s"\nallow = "'staff' in user.groups"\n`);
  const stranger = await logIn(world, (person) => provider.logIn(person, 'mallory'));
  mustBe('error for somebody who is not in staff', stranger.came.get('error'), 'access_denied');

  const staff = await logIn(world, (person) => provider.logIn(person, 'staff-alice'));
  const tokens = await staff.redeem();
  mustBe('the status of /token', tokens.status, 200);
  mustBeAFortune(await callFortune(tokens.access_token));
  await provider.takeAway('staff-alice');
  await becomes(401, '/sse', tokens.access_token);
  const refreshed = await staff.client.refresh(tokens.refresh_token);
  mustBe('error of a refresh after that', refreshed.error, 'invalid_grant');
}

/** A login for offline access would outlive a logout at the provider, so that one is not asked for. */
async function severalProviders(world) {
  const provider = world.until(await OidcProvider.start(world.name, 'partner'));
  const several = `\n[[identity]]\nname = "partner"\nlabel = "Our partner"\nsession = "login-only"\n${provider.settings}\n[[identity]]\nprovider = "local"\n`;
  const sekisho = await world.sekisho(several);
  const there = await logIn(world, async (person) => {
    must(!person.asked.some((url) => url.startsWith(provider.issuer)), 'the browser was at the provider before anybody chose');
    await choose(person, 'partner', 'chooser');
    await provider.logIn(person, 'alice');
  });
  const theirs = await there.redeem();
  mustBeAFortune(await callFortune(theirs.access_token));
  const here = await logIn(world, async (person) => {
    await choose(person, 'local');
    await person.logIn(sekisho.person);
  });
  const ours = await here.redeem();
  mustBeAFortune(await callFortune(ours.access_token));

  // The account page asks the same, and whoever logs out there is logged out at the provider they came from, which tells us.
  const { page } = there.person;
  await page.goto(`${publicUrl}/account`);
  await page.locator('button').click();
  await choose(there.person, 'partner');
  await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
  await page.locator('button[type=submit]').click();
  await page.waitForURL(`${publicUrl}/account`);
  must((await page.locator('body').innerText()).includes('alice'), 'the account page does not say who is there');
  await page.goto(`${publicUrl}/logout`);
  await page.locator('button').click();
  await page.waitForURL((url) => url.href.startsWith(`${provider.issuer}/session/end`));
  await page.locator('button[name=logout]').click();
  await page.waitForURL((url) => url.href.startsWith(`${publicUrl}/logout`));
  await becomes(401, '/sse', theirs.access_token);
  mustBe('the status for whoever logged in elsewhere', await statusOf('/sse', ours.access_token), 200);
}

export const cases = [
  { name: 'node-oidc-provider-logs-people-in', login: 'local', run: nodeOidcProvider },
  { name: 'several-providers-to-choose-from', login: 'local', run: severalProviders },
];
