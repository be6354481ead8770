"""A grid of switches, one per layer and head, coloured by share."""

from __future__ import annotations

import gradio as gr

_TEMPLATE = """
${!value ? '' : `
<div class="heads" role="group" aria-label="Layers and heads that take part">
  <div class="row all">${['on', 'off'].map(all =>
    `<button type="button" class="layer" data-all="${all}">all ${all}</button>`).join('')}</div>
  <div class="row top"><span class="layer">layer and its share</span>
    ${value.shares[0].map((_, h) => `<span class="number">${h}</span>`).join('')}</div>
  ${value.shares.map((row, l) => {
    const most = Math.max(...value.shares.flat(), 1e-9);
    const share = row.reduce((a, b) => a + b, 0);
    const any = value.on[l].some(Boolean);
    return `<div class="row">
      <button type="button" class="layer" data-layer="${l}" aria-pressed="${any}"
        ><span>layer ${l}</span><span>${(100 * share).toFixed(1)} %</span></button>
      ${row.map((s, h) => `<button type="button" class="head" data-layer="${l}" data-head="${h}"
        tabindex="${l || h ? -1 : 0}" aria-pressed="${value.on[l][h]}"
        style="--heat: ${Math.round(100 * s / most)}%"
        title="layer ${l}, head ${h}: ${(100 * s).toFixed(1)} %"
        aria-label="layer ${l}, head ${h}: ${(100 * s).toFixed(1)} %"></button>`).join('')}
    </div>`; }).join('')}
</div>`}
"""

_SCRIPT = """
const cell = (l, h) => element.querySelector(`.head[data-layer="${l}"][data-head="${h}"]`);
element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  const on = props.value.on.map(row => [...row]);
  const layer = Number(button.dataset.layer);
  if (button.dataset.all) on.forEach(row => row.fill(button.dataset.all === 'on'));
  else if (button.dataset.head === undefined) on[layer].fill(!on[layer].some(Boolean));
  else on[layer][Number(button.dataset.head)] = !on[layer][Number(button.dataset.head)];
  props.value = {...props.value, on};
  trigger('input');
});
element.addEventListener('keydown', event => {
  const steps = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  const step = steps[event.key];
  const here = event.target.closest('.head');
  if (!step || !here) return;
  event.preventDefault();
  cell(Number(here.dataset.layer) + step[0], Number(here.dataset.head) + step[1])?.focus();
});
"""

_STYLE = """
.heads { overflow-x: auto; padding: 4px; --cell: 24px; }
.row { display: flex; gap: 3px; margin-bottom: 3px; align-items: center; }
.layer { flex: 0 0 auto; width: 9.5em; display: flex; justify-content: space-between; padding: 0 8px;
  font-size: 0.85em; line-height: var(--cell); border-radius: 4px; color: var(--body-text-color); }
button.layer { background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);
  cursor: pointer; }
button.layer[aria-pressed="false"] { text-decoration: line-through; color: var(--body-text-color-subdued); }
.all { margin-bottom: 8px; }
.all .layer { width: 4.65em; justify-content: center; }
.number { flex: 0 1 var(--cell); min-width: 14px; text-align: center; font-size: 0.75em;
  color: var(--body-text-color-subdued); }
.top .layer { color: var(--body-text-color-subdued); padding: 0; }
.head { flex: 0 1 var(--cell); min-width: 14px; height: var(--cell); border-radius: 4px; cursor: pointer;
  border: 1px solid var(--border-color-primary);
  background: color-mix(in srgb, #e8590c var(--heat), var(--background-fill-primary)); }
.head[aria-pressed="false"] { background: repeating-linear-gradient(45deg, transparent 0 4px,
  color-mix(in srgb, var(--body-text-color-subdued) 50%, transparent) 4px 5px),
  color-mix(in srgb, #e8590c calc(var(--heat) / 3), var(--background-fill-primary)); }
button:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
"""


def head_grid() -> gr.HTML:
    """The grid; its value is what ``Heads.value`` gives, its event ``input`` tells of a switch.

    A button switches a head, the one before a row its whole layer, those below all; arrow keys walk between heads.
    """
    return gr.HTML(
        None,
        html_template=_TEMPLATE,
        js_on_load=_SCRIPT,
        css_template=_STYLE,
        apply_default_css=False,
        elem_id="heads",
    )
