/** What the page shows. Text goes in as text, never as markup. */

export const $ = (id) => document.getElementById(id);

export function setStatus(text) {
  $("status").textContent = text;
}

export function setError(text) {
  $("error").textContent = text;
  $("error").hidden = text === "";
}

/** @param {number} received bytes; NaN: nothing is loading @param {number} total 0: unknown */
export function setProgress(received, total) {
  const bar = $("progress");
  bar.hidden = Number.isNaN(received);
  if (bar.hidden) return;
  if (total > 0) {
    bar.max = total;
    bar.value = Math.min(received, total);
  } else {
    bar.removeAttribute("value");
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** "cat, 26.3 %" */
export const labelled = ({ name, probability }) => `${name}, ${percent(probability)}`;

const SHOWN_FIRST = 5;

/**
 * The classes that can be explained, the most probable first: some at the top, all others folded away.
 * @param {{index: number, name: string, probability: number}[]} classes
 * @param {number} chosen index of a class
 */
export function showClasses(classes, chosen) {
  const [top, others] = [classes.slice(0, SHOWN_FIRST), classes.slice(SHOWN_FIRST)];
  $("top").replaceChildren(...top.map((one) => classChoice(one, one.index === chosen)));
  $("rest").replaceChildren(...others.map((one) => classChoice(one, one.index === chosen)));
  $("others").hidden = others.length === 0;
  $("others-title").textContent = `${others.length} other classes`;
  $("search").value = "";
}

function classChoice({ index, name, probability }, checked) {
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: index, checked });
  const bar = element("span", "bar");
  bar.append(element("i", ""));
  bar.style.setProperty("--share", probability);
  bar.setAttribute("aria-hidden", "true");
  const choice = element("label", "class");
  choice.append(radio, element("span", "name", name), element("span", "quiet", percent(probability)), bar);
  return choice;
}

function element(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** Hides the folded classes whose names don't contain the text. */
export function filterClasses(text) {
  const wanted = text.trim().toLowerCase();
  for (const choice of $("rest").children) {
    choice.hidden = !choice.querySelector(".name").textContent.toLowerCase().includes(wanted);
  }
}

/** "Where it looks for <b>cat</b>, 26.3 %", without markup in the name. */
export function captionMap({ name, probability }) {
  $("map-caption").replaceChildren("Where it looks for ", element("b", "", name), `, ${percent(probability)}`);
  $("map").setAttribute("aria-label", `Map of where the model looks for ${name}, over the photograph`);
}

export function captionPhotograph(name, width, height) {
  $("photograph-caption").replaceChildren(element("b", "", name), `, ${width}×${height}`);
  $("photograph").setAttribute("aria-label", `The photograph ${name}`);
}
