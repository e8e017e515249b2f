package timeline

import (
	"fmt"
	"strings"
)

// glyphs are the names of the marks' drawings.
var glyphs = map[MarkKind]string{
	Wanted: "m-wanted", Refused: "m-refused", Guarded: "m-guarded", Denied: "m-denied", Expired: "m-expired", Forced: "m-forced", Death: "m-death",
}

// style makes the picture readable on both a bright and a dark background. What knows no media queries draws it bright.
func style() string {
	return `
text{font:11.5px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.head{font-size:21px;font-weight:600}
.tick{font-size:10.5px}
.clear{paint-order:stroke;stroke-width:4;stroke-linejoin:round;stroke:#fff}
.name,.label{font:12px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.label{font-size:10.5px;pointer-events:none}
.back{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}
.row0{fill:#818b98;fill-opacity:.09}.row1{fill:transparent}
.grid{stroke:#d1d9e0}.edge{stroke:#818b98;fill:none}
.glyph{stroke:#1f2328;fill:#1f2328}.hollow{stroke:#1f2328;fill:#fff}.halo{stroke:#fff}.open{fill:none}
.start,.over,.lost{stroke:#1f2328;stroke-width:1.3;fill:none}
.over{stroke-dasharray:6 3}.lost{stroke-dasharray:1.5 3}
.hit{stroke:transparent;stroke-width:9;fill:none;pointer-events:stroke}
.nobody{fill:#afb8c1}.faint{fill:#d1d9e0}.plain{fill:#1f2328}
.many{fill:#818b98}.comb{fill:url(#p-comb);pointer-events:none}.orphan{fill:url(#p-orphan);stroke:#59636e}.abandoned{fill:url(#p-abandoned);stroke:#59636e}
.weave{fill:#59636e}.stripe{stroke:#59636e}
.unseen{fill-opacity:.4}
` + colourRules() + `
@media(prefers-color-scheme:dark){
.back{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}
.grid{stroke:#2d333b}.edge{stroke:#6e7681}
.glyph{stroke:#f0f6fc;fill:#f0f6fc}.hollow{stroke:#f0f6fc;fill:#0d1117}.halo,.clear{stroke:#0d1117}.open{fill:none}
.start,.over,.lost{stroke:#f0f6fc}
.nobody{fill:#6e7681}.faint{fill:#3d444d}.plain{fill:#f0f6fc}
.weave{fill:#9198a1}.stripe{stroke:#9198a1}.orphan,.abandoned{stroke:#9198a1}
}
`
}

func colourRules() string {
	var b strings.Builder
	for look := range colours {
		hue := hues[look%len(hues)]
		fill := hue.plain
		if look >= len(hues) {
			fill = fmt.Sprintf("url(#p-c%d)", look)
		}
		fmt.Fprintf(&b, ".c%d{fill:%s;stroke:%s;stroke-width:.8}\n", look, fill, hue.dark)
	}
	for i, hue := range hues {
		fmt.Fprintf(&b, ".on%d{fill:%s}", i, hue.ink)
	}
	return b.String() + ".thin{stroke:none}"
}

// definitions are what is drawn more than once. A mark's origin is where its moment meets the middle of the bar.
func definitions() string {
	var b strings.Builder
	for look := len(hues); look < colours; look++ {
		hue := hues[look%len(hues)]
		fmt.Fprintf(&b, `<linearGradient id="p-c%d" x2="0" y2="1"><stop offset=".62" stop-color="%s"/><stop offset=".62" stop-color="%s"/></linearGradient>`+"\n",
			look, hue.plain, hue.dark)
	}
	return b.String() + `
<pattern id="p-orphan" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="stripe" d="M1.5,0V6" stroke-width="2.4"/></pattern>
<pattern id="p-abandoned" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="weave" cx="2.5" cy="2.5" r="1.2"/></pattern>
<pattern id="p-comb" width="4" height="4" patternUnits="userSpaceOnUse"><rect class="back" width="1.3" height="4"/></pattern>
<g id="m-wanted"><path class="glyph" stroke-width="1.4" d="M0,8.5V14"/><path class="hit" d="M0,7V15"/></g>
<g id="m-refused"><path class="glyph" stroke="none" d="M-3.2,-14.5H3.2L0,-8.5Z"/></g>
<g id="m-guarded"><path class="hollow" stroke-width="1.3" d="M0,-5.5L5,0L0,5.5L-5,0Z"/></g>
<g id="m-denied"><path class="halo" stroke-width="3" d="M0,-5.5L5,0L0,5.5L-5,0Z"/><path class="glyph" d="M0,-5.5L5,0L0,5.5L-5,0Z"/></g>
<g id="m-expired"><path class="halo open" stroke-width="5" d="M0,-14V9"/><path class="hollow" stroke-width="1.6" d="M0,9V-15L9,-11L0,-7"/></g>
<g id="m-forced"><path class="halo open" stroke-width="5" d="M0,-14V9"/><path class="glyph" stroke-width="1.6" d="M0,9V-15L9,-11L0,-7"/></g>
<g id="m-death"><path class="halo open" stroke-width="5.5" stroke-linecap="round" d="M-5,-5L5,5M-5,5L5,-5"/><path class="glyph open" stroke-width="2.4" stroke-linecap="round" d="M-5,-5L5,5M-5,5L5,-5"/></g>
`
}
