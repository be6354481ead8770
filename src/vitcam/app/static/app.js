// What the page does in the browser by itself. It is run once, when the page is there.
() => {
  // Each tab has its own; what is in sight is of the one that is open.
  const $ = selector => [...document.querySelectorAll(selector)].find(one => one.checkVisibility());

  // On a narrow screen the answers are below the questions, out of sight.
  window.showAnswers = () => {
    const [questions, answers] = [$('.vitcam-questions'), $('.vitcam-answers')];
    if (answers.getBoundingClientRect().left <= questions.getBoundingClientRect().left) answers.scrollIntoView();
  };

  // A photograph can be pasted anywhere.
  document.addEventListener('paste', event => {
    const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith('image/'));
    const input = $('#photograph')?.querySelector('input[type=file]');
    if (!file || !input) return;
    const files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  });

  // Of several lines that are pasted where names are typed, each is one.
  document.addEventListener('paste', event => {
    const box = event.target.closest?.('.typed input');
    const lines = (event.clipboardData?.getData('text') ?? '').split('\n').map(line => line.trim()).filter(Boolean);
    if (!box || lines.length < 2) return;
    event.preventDefault();
    for (const line of lines) {
      box.value = line;
      box.dispatchEvent(new Event('input', {bubbles: true}));
      box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
    }
  });

  // The list below a box is placed anew when the page scrolls; so it is when the questions do.
  document.addEventListener('scroll', event => {
    if (event.target.matches?.('.vitcam-form')) window.dispatchEvent(new Event('scroll'));
  }, true);

  // Escape stops what runs.
  document.addEventListener('keydown', event => {
    const stop = $('.vitcam-stop');
    if (event.key === 'Escape' && !event.defaultPrevented && stop
        && event.target.getAttribute('aria-expanded') !== 'true') stop.click();
  });

  // What can be seen is said to those who can't see, too.
  const label = () => {
    for (const status of document.querySelectorAll('.vitcam-said')) status.setAttribute('aria-live', 'polite');
    for (const token of document.querySelectorAll('.vitcam-questions .token'))
      token.querySelector('[role=button], button')?.setAttribute('aria-label', `Remove ${token.innerText.trim()}`);
    for (const image of document.querySelectorAll('#shipped img'))
      image.closest('.gallery-item')?.setAttribute('aria-label',
        (image.src.match(/(\w+)\.\w+$/)?.[1] ?? 'photograph').replaceAll('_', ' '));
  };
  new MutationObserver(label).observe(document.body, {childList: true, subtree: true});
  label();
}
