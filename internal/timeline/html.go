package timeline

import (
	"bytes"
	"fmt"
)

// HTML is a page with the picture, which tells of what is pointed at and shows what else its holder holds. It needs
// nothing but itself.
func HTML(h *History, title string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, pageHead, escape(title))
	b.Write(SVG(h, title))
	b.WriteString(pageFoot)
	return b.Bytes()
}

// The policy keeps the page to itself, whatever there is in a name.
const pageHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>%s</title>
<style>
body{margin:0;background:#fff;color:#1f2328}
#timeline{display:block;margin:auto;max-width:100%%;height:auto}
#timeline.one [data-h]:not(.same){opacity:.2}
#tip{position:fixed;display:none;max-width:34em;padding:.6em .8em;border-radius:6px;background:#1f2328;color:#f0f6fc;
 font:12.5px/1.45 system-ui,"DejaVu Sans",sans-serif;white-space:pre-line;overflow-wrap:anywhere;pointer-events:none;
 box-shadow:0 2px 10px #0006}
#tip b{display:block;font:600 12px ui-monospace,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}#tip{background:#e6edf3;color:#1f2328}}
</style>
</head>
<body>
`

// The browser's own tooltips come late and are small, so the script takes what they would say. It reads names as text only.
const pageFoot = `<div id="tip"></div>
<script>
const picture = document.getElementById("timeline"), tip = document.getElementById("tip"), told = new Map();
for (const title of [...picture.querySelectorAll("title")]) {
  if (title.parentNode !== picture) told.set(title.parentNode, title.textContent);
  title.remove();
}
const byHolder = new Map();
for (const bar of picture.querySelectorAll("[data-h]")) {
  const holder = bar.dataset.h;
  if (!byHolder.has(holder)) byHolder.set(holder, []);
  byHolder.get(holder).push(bar);
}
let shown, same = [];
function show(target) {
  if (target === shown) return;
  shown = target;
  for (const bar of same) bar.classList.remove("same");
  same = byHolder.get(target && target.dataset ? target.dataset.h : undefined) || [];
  for (const bar of same) bar.classList.add("same");
  picture.classList.toggle("one", same.length > 0);
  const texts = [];
  for (let at = target; at && at !== picture; at = at.parentNode) if (told.has(at)) texts.unshift(told.get(at));
  tip.style.display = texts.length ? "block" : "none";
  tip.textContent = texts.slice(1).join("\n");
  const head = document.createElement(texts.length > 1 ? "b" : "span");
  head.textContent = texts[0] || "";
  tip.prepend(head);
}
function place(event) {
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  tip.style.top = (event.clientY + 18 + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 18) + "px";
}
function point(event) {
  show(event.target instanceof Element && picture.contains(event.target) ? event.target : null);
  place(event);
}
addEventListener("pointermove", point);
addEventListener("pointerdown", point);
document.addEventListener("pointerleave", () => show(null));
</script>
</body>
</html>
`
