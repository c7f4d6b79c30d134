// What a case demands, as sentences that say what was there instead.

export function must(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

export function mustBe(what, got, wanted) {
  must(got === wanted, `${what} is ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
}

export function mustBeAFortune(text) {
  must(/^今日の運勢は: (大吉|中吉|小吉|吉|末吉|凶|大凶)$/.test(text), `the tool answered ${JSON.stringify(text)}`);
}
