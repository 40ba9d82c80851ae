"""The style of the report's pages: light and dark, narrow and wide, screen and print."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #24272c; --faint: #646a73; --line: #dcdfe3; --rule: #24272c; --wash: #f4f5f7;
  --accent: #0067a3; --gap: #9aa0a8;
}
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #15171b; --ink: #d9dce1; --faint: #979ca6; --line: #33373e; --rule: #8f959f; --wash: #1e2126;
  --accent: #6cbcf0; --gap: #4a4f58;
} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1, h2 {
  font-family: Charter, "Iowan Old Style", "Palatino Linotype", Palatino, Georgia, serif; font-weight: 600;
  line-height: 1.2;
}
h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); margin: 0 0 1rem; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.4rem; margin: 3.2rem 0 .8rem; }
p, figcaption { max-width: 44rem; }
.kicker { margin: 0 0 .4rem; color: var(--faint); font-size: .875rem; }
.lead { font-size: 1.06rem; margin: 0 0 .9rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; margin-top: 1.5rem; font-size: .9rem; }
a { color: var(--accent); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure { margin: 1.4rem 0 2.4rem; }
figcaption { margin: 0 0 .7rem; font-size: .9rem; color: var(--faint); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }

.scroll { overflow: auto; max-height: max(30rem, 85vh); border-block: 2px solid var(--rule); }
table {
  border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums;
}
th, td { padding: .4rem .6rem; text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child, .word { text-align: left; }
thead th {
  position: sticky; top: 0; z-index: 2; background: var(--paper); vertical-align: bottom; line-height: 1.25;
  font-weight: 600; box-shadow: inset 0 -1px var(--rule);
}
tbody th {
  position: sticky; left: 0; z-index: 1; background: var(--paper); font-weight: 500; white-space: normal;
  min-width: 10rem; max-width: 15rem; overflow-wrap: anywhere;
}
thead th:first-child { left: 0; z-index: 3; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody tr:hover > * { background: var(--wash); }
.control > * { color: var(--faint); }
.control > th { font-style: italic; font-weight: 400; }
.published > * { color: var(--faint); font-style: italic; }
.published > th { font-weight: 400; }
.best { font-weight: 700; }
code { font: .92em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.made { display: block; margin-top: .25rem; font-size: .92em; }
td small {
  display: flex; align-items: center; justify-content: flex-end; color: var(--faint); font-size: .86em;
  font-weight: 400;
}
th button { all: unset; cursor: pointer; display: inline-block; white-space: pre; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "\\2195"; margin-left: .3em; color: var(--faint); font-weight: 400; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: var(--accent); }
th[aria-sort=descending] button::after { content: "\\2193"; color: var(--accent); }
.bar {
  position: relative; flex: none; height: 9px; width: 5.5rem; margin-right: auto;
  background: linear-gradient(var(--line), var(--line)) center / 100% 1px no-repeat;
}
.bar i {
  position: absolute; top: 3px; bottom: 3px; left: var(--low); right: calc(100% - var(--high));
  background: var(--accent); opacity: .45;
}
.bar b {
  position: absolute; top: 0; bottom: 0; left: calc(var(--mean) - 1px); width: 2px;
  background: var(--accent);
}
.control .bar i, .control .bar b { background: var(--faint); }

.zoom { all: unset; display: block; width: 100%; cursor: zoom-in; border-radius: 4px; }
.zoom:focus-visible { outline: 2px solid var(--accent); outline-offset: 4px; }
.zoom img { width: 100%; height: auto; }
.light { display: block; }
.dark { display: none; }
@media screen and (prefers-color-scheme: dark) {
  .light { display: none; }
  .dark { display: block; }
}
.narrow .zoom { max-width: 44rem; }
dialog {
  width: min(96vw, 90rem); max-width: none; max-height: 94vh; padding: 0; overflow: auto;
  border: 1px solid var(--line); border-radius: 8px; background: var(--paper); color: inherit;
}
dialog::backdrop { background: rgb(0 0 0 / .6); }
dialog form {
  position: sticky; left: 0; top: 0; padding: .5rem; text-align: right; background: var(--paper);
}
dialog button { font: inherit; padding: .25rem .8rem; cursor: pointer; }
dialog img { width: 100%; min-width: 44rem; height: auto; padding: 0 1rem 1rem; }

.gallery { max-height: none; padding: .9rem 0 .3rem; }
.row {
  display: grid; grid-template-columns: 11rem auto; gap: .2rem 1rem; width: max-content; margin-bottom: .7rem;
}
.row > :first-child {
  position: sticky; left: 0; z-index: 1; background: var(--paper); font-size: .875rem;
  overflow-wrap: anywhere;
}
.gallery img {
  display: block; box-sizing: content-box; width: var(--wide); height: auto; padding: 2px;
  background: var(--gap); image-rendering: pixelated;
}
.gallery summary { margin-top: .2rem; }
.gallery ol { list-style: none; margin: 0; padding: 0 0 .6rem; }
.gallery li span { display: block; margin-top: .4rem; color: var(--faint); font-size: .8rem; }
.gallery li { width: max-content; }
.gallery li div {
  display: flex; width: 0; min-width: 100%; color: var(--faint); font-size: .72rem; line-height: 1.3;
}
.gallery li i { flex: 1; text-align: center; font-style: normal; font-variant-numeric: tabular-nums; }
summary {
  width: max-content; max-width: 100%; overflow-wrap: anywhere; cursor: pointer; color: var(--accent);
  font-size: .875rem;
}

dl { display: grid; grid-template-columns: 11rem auto; gap: .7rem 1rem; max-width: 56rem; }
dt { font-weight: 600; }
dd { margin: 0; }
pre {
  overflow-x: auto; padding: .8rem 1rem; border-radius: 6px; background: var(--wash);
  font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
.facts table { width: auto; }
.small table { width: auto; min-width: min(100%, 44rem); }
pre + .facts, .facts + details { margin-top: 1rem; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }

@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  tbody th { min-width: 7.5rem; max-width: 8.5rem; }
  .row, dl { grid-template-columns: auto; }
  .gallery img { width: var(--narrow); }
  .gallery li div { font-size: .66rem; }
  dt { margin-bottom: -.6rem; }
  .row > :first-child { width: max-content; max-width: 85vw; }
  .gallery li span, .gallery summary { position: sticky; left: 0; width: max-content; }
}
@media print {
  @page { margin: 12mm; }
  html { font-size: 11.5px; }
  body { max-width: none; padding: 0; }
  nav, th button::after, .bar, dialog { display: none; }
  .scroll { overflow: visible; max-height: none; }
  thead th, tbody th, .row > :first-child { position: static; }
  thead th { box-shadow: none; border-bottom: 1px solid var(--rule); }
  table { font-size: 5.6pt; }
  th, td { padding: .15rem .2rem; }
  tbody th { min-width: 6rem; }
  tr, .row, .plot { break-inside: avoid; }
  h2, figcaption { break-after: avoid; }
}
"""
