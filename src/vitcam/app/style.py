"""How the page looks, in light and dark. Fonts are the system's: nothing is fetched from anywhere."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container { overflow: clip !important; } /* hidden would keep the button from sticking */
html { scroll-padding-bottom: 80px; } /* what has the focus isn't hidden behind the button */
.gradio-container :focus-visible { outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
#title { padding: 4px 0 0; }
#title h1 { margin: 0; }
#title p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
#look .form { background: var(--block-background-fill); align-items: center; }
#boxes { flex: 0 1 110px; }
[data-testid="status-tracker"] .error, [data-testid="status-tracker"] .clear-status { display: none; }
#explain { position: sticky; bottom: 8px; z-index: 40; box-shadow: 0 0 0 6px var(--body-background-fill); }
#explain:disabled { opacity: 1; background: color-mix(in srgb, var(--button-primary-background-fill) 50%,
  var(--body-background-fill)); }
#busy { position: sticky; top: 0; z-index: 30; flex-wrap: nowrap; align-items: center; min-height: 28px;
  margin: -8px 0; background: var(--body-background-fill); }
.vitcam-status { display: flex; gap: 12px; align-items: center; margin: 0; padding: 4px; }
.vitcam-status .bar { flex: 0 1 120px; min-width: 48px; height: 6px; border-radius: 3px; overflow: hidden;
  background: linear-gradient(90deg, var(--border-color-primary) 25%, var(--color-accent-soft) 50%,
  var(--border-color-primary) 75%) 0 0 / 200% 100%; animation: vitcam-busy 1.5s linear infinite; }
.vitcam-status .bar i { display: block; height: 100%; background: var(--color-accent); }
@keyframes vitcam-busy { from { background-position-x: 200%; } }
.vitcam-maps .pending span { display: grid; place-items: center; max-width: 320px;
  border-radius: 4px; border: 1px dashed var(--border-color-primary); color: var(--body-text-color-subdued);
  font-size: 0.85em; }
#photograph .image-container { padding-top: 28px; box-sizing: border-box; } /* its label hides nothing of it */
#shipped .gallery { gap: 6px; }
#shipped .gallery-item .container { width: 72px; height: 72px; }
.classes { min-height: 110px; } /* room for the progress bar */
.classes .wrap { flex-direction: column; align-items: stretch; gap: 4px; }
.vitcam-hint { padding: 48px 16px; text-align: center; color: var(--body-text-color-subdued); }
.vitcam-maps { overflow-x: auto; }
.vitcam-maps table { border-collapse: collapse; width: 100%; table-layout: fixed; }
.vitcam-maps caption { text-align: left; padding-bottom: 10px; }
.vitcam-maps caption span { position: sticky; left: 0; }
.vitcam-note { color: var(--body-text-color-subdued); font-size: 0.85em; margin: 8px 0 0; }
.vitcam-maps thead th { text-align: left; font-weight: 600; font-size: 0.92em; padding: 0 8px 2px 0;
  overflow-wrap: anywhere; vertical-align: bottom; }
.vitcam-maps td { padding: 0 8px 0 0; vertical-align: top; }
.vitcam-maps .class th { text-align: left; padding: 12px 0 4px; font-weight: 600; }
.vitcam-maps .class span { position: sticky; left: 0; }
.vitcam-maps small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: 6px; }
.vitcam-maps img, .vitcam-figures img { width: 100%; max-width: 320px; height: auto; border-radius: 4px;
  display: block; }
.vitcam-figures { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); }
.vitcam-figures.kept { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); max-width: 660px; }
.vitcam-figures figure { margin: 0; }
.vitcam-figures figcaption { font-size: 0.85em; padding-top: 4px; }
@media (max-width: 760px) { #answers { min-height: 100vh; } } /* so that one can scroll to their top */
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
"""


def theme() -> gr.themes.Base:
    """gradio's own, with the system's fonts."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.zinc,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # gradio's greys are too pale to be read by everyone
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
    )
