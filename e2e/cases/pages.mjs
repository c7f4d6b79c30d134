// Our pages as people see them: both languages, both colour schemes, a phone and a desk. Every one is photographed and measured.
import { publicUrl } from '../settings.mjs';
import { contrastFaults } from '../drivers/contrast.mjs';
import { NativeClient } from '../drivers/native_client.mjs';
import { must, mustBe } from './must.mjs';

const looks = ['en', 'ja'].flatMap((language) =>
  ['light', 'dark'].flatMap((colorScheme) =>
    [
      { size: 'phone', viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
      { size: 'desktop', viewport: { width: 1280, height: 800 } },
    ].map(({ size, ...screen }) => ({
      name: `${language}-${colorScheme}-${size}`,
      language,
      options: { locale: language === 'ja' ? 'ja-JP' : 'en-US', colorScheme, reducedMotion: 'reduce', ...screen },
    })),
  ),
);
const LOOKS = 8;
const TARGET_PIXELS_MIN = 24;

const labels = { en: ['Allow', 'Deny'], ja: ['許可', '拒否'] };

const photograph = (kind, open, settings) => async (world) => {
  mustBe('the number of looks', looks.length, LOOKS);
  const sekisho = await world.sekisho(settings);
  const client = world.until(await NativeClient.register('A client with a rather long name that still has to fit'));
  const faults = [];
  for (const look of looks) {
    const person = await world.person({ album: 'pages', options: look.options });
    const complaints = [];
    person.page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    await open(person, client, sekisho, look);
    await person.page.waitForLoadState('networkidle');
    await person.picture(`${kind}-${look.name}`);
    const found = [...(await contrastFaults(person.page)), ...(await otherFaults(person, look)), ...complaints.filter((text) => !/status of 4\d\d/.test(text))];
    faults.push(...found.map((fault) => `${look.name}: ${fault}`));
    await person.leave();
  }
  must(faults.length === 0, faults.join('; '));
  return `${looks.length} looks`;
};

async function otherFaults({ page, asked }, { language }) {
  const seen = await page.evaluate(() => ({
    language: document.documentElement.lang,
    title: document.title,
    overflows: document.documentElement.scrollWidth > window.innerWidth,
    scripts: document.scripts.length,
    small: [...document.querySelectorAll('button, input:not([type=hidden]), select')].map((e) => [e.name || e.localName, e.getBoundingClientRect().height]),
  }));
  return [
    seen.language === language || `lang is "${seen.language}"`,
    seen.title !== '' || 'there is no title',
    !seen.overflows || 'the page scrolls sideways',
    seen.scripts === 0 || 'there is a script on the page',
    ...seen.small.map(([name, height]) => height >= TARGET_PIXELS_MIN || `"${name}" is only ${height} pixels high`),
    ...asked.map((url) => url.startsWith(`${publicUrl}/`) || url.startsWith('data:') || `the page asked for ${url}`),
  ].filter((fault) => fault !== true);
}

async function openConsent(person, client, _sekisho, { language }) {
  await person.page.goto(client.begin().url);
  const buttons = person.page.locator('button[name=decision]');
  await buttons.first().waitFor();
  const texts = (await buttons.allInnerTexts()).map((text) => text.trim());
  must(labels[language].every((label) => texts.includes(label)), `the buttons say ${texts.join(', ')}`);
  const words = await person.page.locator('body').innerText();
  must(words.includes(new URL(client.redirectUri).hostname), 'the page does not say where the answer goes');
  must(words.includes('fortune'), 'the page does not say for which scope');
}

async function openLogin(person, client) {
  await person.page.goto(client.begin().url);
  await person.approveButton().click();
  await person.page.locator('[name=password]').waitFor();
}

/** Nobody is asked before somebody chooses, so that nobody need be there. */
const SEVERAL = '\n[[identity]]\nprovider = "google"\nclient_id = "g"\n[[identity]]\nprovider = "oidc"\nname = "partner"\nlabel = "A partner with a rather long name that still has to fit"\nissuer = "https://sso.partner.example"\nclient_id = "p"\n[[identity]]\nprovider = "local"\n';

async function openChooser(person, client) {
  await person.page.goto(client.begin().url);
  await person.approveButton().click();
  const buttons = person.page.locator('button[name=provider]');
  await buttons.first().waitFor();
  mustBe('the number of buttons', await buttons.count(), 3);
}

async function openError(person) {
  const answer = await person.page.goto(`${publicUrl}/authorize?response_type=code&client_id=nobody&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb`);
  mustBe('the status for an unknown client', answer.status(), 400);
  mustBe('Location for an unknown client', answer.headers().location, undefined);
}

/** The meter itself must be able to fail: the two greys on either side of the line are known. */
async function theMeterCanFail(world) {
  const person = await world.person();
  const page = (grey) => `<!doctype html><body style="background:#fff"><p style="color:${grey}">text</p></body>`;
  await person.page.setContent(page('#767676'));
  mustBe('faults of #767676 on white (4.54)', (await contrastFaults(person.page)).length, 0);
  await person.page.setContent(page('#777777'));
  mustBe('faults of #777777 on white (4.48)', (await contrastFaults(person.page)).length, 1);
  await person.page.setContent(`<!doctype html><body style="background:#fff"><input name=a style="border:1px solid #aaa;background:#fff"></body>`);
  mustBe('faults of a field with a pale edge', (await contrastFaults(person.page)).length, 1);
}

export const cases = [
  { name: 'the-contrast-meter-can-fail', login: 'local', run: theMeterCanFail },
  { name: 'pages-consent', login: 'local', run: photograph('consent', openConsent) },
  { name: 'pages-chooser', login: 'local', run: photograph('chooser', openChooser, SEVERAL) },
  { name: 'pages-login', login: 'local', run: photograph('login', openLogin) },
  { name: 'pages-error', login: 'local', run: photograph('error', openError) },
];
