// Package timeline draws what happened to the locks of a mount: a lane for each lock, a bar for each hold.
//
//	spans.go     what a picture is of: lanes, spans and marks
//	build.go     what each event comes to
//	open.go      spans that have not ended; what is missing of a history is made up for here
//	marks.go     events become marks
//	history.go   which lanes are shown, and in which order
//	merge.go     what is too narrow to be seen is drawn together
//	axis.go      where time is on the picture, and its ticks
//	palette.go   the colours of holders
//	words.go     what is said of a span or a mark
//	text.go      names as they can be shown, whatever they are
//	svg.go       the picture; its parts are in svg_ticks.go, svg_lanes.go, svg_legend.go and svg_style.go
//	html.go      a page with the picture that tells more of what is pointed at
package timeline
