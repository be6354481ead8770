// Runs once for the grid: gradio gives `element`, `props` and `trigger`.
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
