// Measures, in the browser, what WCAG 2.2 AA asks of colours: text against what is behind it (1.4.3: 4.5, large text 3)
// and the edge of a field against what is around it (1.4.11: 3). A background that is a picture cannot be measured and counts as a fault.

/** Answers one sentence per fault on the page as it is shown now. */
export function contrastFaults(page) {
  return page.evaluate(() => {
    const ink = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    // Whatever way a colour is written, the canvas knows it: [red, green, blue, alpha].
    const read = (colour) => {
      ink.clearRect(0, 0, 1, 1);
      ink.fillStyle = colour;
      ink.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = ink.getImageData(0, 0, 1, 1).data;
      return [red, green, blue, alpha / 255];
    };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
    const luminance = (colour) => {
      const [red, green, blue] = colour.slice(0, 3).map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ratio = (one, other) => {
      const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
      return (light + 0.05) / (dark + 0.05);
    };
    const canvasColour = () => {
      const probe = document.createElement('div');
      probe.style.color = 'Canvas';
      document.body.append(probe);
      const colour = read(getComputedStyle(probe).color);
      probe.remove();
      return colour;
    };
    const path = (element) => {
      const steps = [];
      for (let at = element; at; at = at.parentElement) steps.unshift(at);
      return steps;
    };
    const pictured = (element) => path(element).some((at) => getComputedStyle(at).backgroundImage !== 'none');
    const behind = (element) => path(element).reduce((under, at) => over(read(getComputedStyle(at).backgroundColor), under), canvasColour());
    const opacity = (element) => path(element).reduce((product, at) => product * Number(getComputedStyle(at).opacity), 1);
    const shown = (element) =>
      element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && element.getClientRects().length > 0 && element.getBoundingClientRect().width > 1;
    const named = (element, text) => `<${element.localName}> "${text.trim().slice(0, 40)}"`;

    const faults = [];
    let measured = 0;
    const measureText = (element, text, style) => {
      measured += 1;
      if (pictured(element)) faults.push(`${named(element, text)} stands on a picture, which cannot be measured`);
      const ground = behind(element);
      const colour = read(style.color);
      colour[3] *= opacity(element);
      const pixels = parseFloat(style.fontSize);
      const isLarge = pixels >= 24 || (pixels >= 18.66 && Number(style.fontWeight) >= 700);
      const got = ratio(over(colour, ground), ground);
      const least = isLarge ? 3 : 4.5;
      if (got < least) faults.push(`${named(element, text)} has contrast ${got.toFixed(2)}, needs ${least}`);
    };

    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = words.nextNode(); node; node = words.nextNode()) {
      const element = node.parentElement;
      if (node.data.trim() && !['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT'].includes(element.tagName) && shown(element)) {
        measureText(element, node.data, getComputedStyle(element));
      }
    }
    for (const field of document.querySelectorAll('input:not([type=hidden]), textarea, select')) {
      if (!shown(field)) continue;
      measureText(field, field.name, getComputedStyle(field));
      if (field.placeholder) measureText(field, field.placeholder, getComputedStyle(field, '::placeholder'));
      const around = behind(field.parentElement);
      const style = getComputedStyle(field);
      const edge = parseFloat(style.borderBottomWidth) > 0 ? ratio(over(read(style.borderBottomColor), around), around) : 1;
      const inside = ratio(behind(field), around);
      if (Math.max(edge, inside) < 3) faults.push(`the edge of <${field.localName}> "${field.name}" has contrast ${Math.max(edge, inside).toFixed(2)}, needs 3`);
    }
    if (measured === 0) faults.push('there is no text to measure');
    return faults;
  });
}
