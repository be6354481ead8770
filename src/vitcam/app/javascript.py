"""What the page does in the browser by itself."""

from __future__ import annotations

import json

from vitcam.photos import PHOTOS

TO_ANSWERS = """() => {
    const [questions, answers] = ['questions', 'answers'].map(id => document.getElementById(id));
    if (answers.getBoundingClientRect().left <= questions.getBoundingClientRect().left) answers.scrollIntoView();
    return [];
}"""
"""On a narrow screen the answers are below the questions, out of sight."""

ON_LOAD = """() => {
    document.addEventListener('paste', event => {
        const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith('image/'));
        const input = document.querySelector('#photograph input[type=file]');
        if (!file || !input) return;
        const files = new DataTransfer();
        files.items.add(file);
        input.files = files.files;
        input.dispatchEvent(new Event('change', {bubbles: true}));
    });
    document.getElementById('status').setAttribute('aria-live', 'polite');
    document.addEventListener('keydown', event => {
        const stop = document.querySelector('#stop');
        if (event.key === 'Escape' && !event.defaultPrevented && stop?.checkVisibility()
            && event.target.getAttribute('aria-expanded') !== 'true') stop.click();
    });
    const methods = document.querySelector('#methods');
    const label = () => methods.querySelectorAll('.token').forEach(token =>
        token.querySelector('[role=button], button')?.setAttribute('aria-label', `Remove ${token.innerText.trim()}`));
    new MutationObserver(label).observe(methods, {childList: true, subtree: true});
    label();
    const names = NAMES;
    document.querySelectorAll('#shipped .gallery-item').forEach((item, i) => {
        item.setAttribute('aria-label', names[i]);
    });
}""".replace("NAMES", json.dumps([name.replace("_", " ") for name in PHOTOS]))
"""A photograph can be pasted anywhere; Escape stops what runs; what is said is said to those who can't see, too."""
