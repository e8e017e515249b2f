package main

import (
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// colours of the systems, of Okabe and Ito's palette, which people tell apart however they see colours.
var colours = map[string]color.Color{
	ourName:     color.RGBA{0, 114, 178, 255},
	peerName:    color.RGBA{230, 159, 0, 255},
	"loopback":  color.RGBA{0, 158, 115, 255},
	"bindfs":    color.RGBA{204, 121, 167, 255},
	"mergerfs":  color.RGBA{86, 180, 233, 255},
	"elsewhere": color.Gray{128},
}

// drawPicture makes a picture of how many times as long as on the bare directory everything takes, on a logarithmic scale.
func drawPicture(path string, results []*result) error {
	p := plot.New()
	p.Title.Text = "times as long as on the bare directory"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.ConstantTicks{{Value: 1, Label: "1"}, {Value: 3, Label: "3"}, {Value: 10, Label: "10"},
		{Value: 30, Label: "30"}, {Value: 100, Label: "100"}}
	p.Y.Min, p.Y.Max = 0.5, 300
	p.Legend.Top, p.Legend.Left = true, true
	var names []string
	heights := map[string][]float64{}
	var order []string
	for _, r := range results {
		if !r.isComplete() {
			continue
		}
		names = append(names, strings.ReplaceAll(r.work.name, " ", "\n"))
		bare := r.named(bareName).quantile(0.5)
		for _, row := range r.rows {
			name := row.system.name
			if name == bareName {
				continue
			}
			if heights[name] == nil {
				order = append(order, name)
			}
			for len(heights[name]) < len(names)-1 { // what it could not do
				heights[name] = append(heights[name], p.Y.Min)
			}
			heights[name] = append(heights[name], math.Max(p.Y.Min*1.1, float64(row.quantile(0.5))/float64(bare)))
		}
	}
	const width = 9
	for i, name := range order {
		b := &bars{values: heights[name], width: vg.Points(width - 1), color: colours[name]}
		if b.color == nil {
			b.color = colours["elsewhere"]
		}
		b.offset = vg.Points(width * (float64(i) - float64(len(order)-1)/2))
		p.Add(b)
		p.Legend.Add(name, b)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	return p.Save(vg.Points(1200), vg.Points(420), path)
}

// bars stand on the bottom of the picture: plotter.BarChart's stand on zero, which a logarithmic scale does not have.
type bars struct {
	values        []float64
	offset, width vg.Length // of a bar, from the place of its value on the axis
	color         color.Color
}

// Plot draws the bars.
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, v := range b.values {
		left, bottom, top := x(float64(i))+b.offset-b.width/2, y(p.Y.Min), y(v)
		c.FillPolygon(b.color, []vg.Point{
			{X: left, Y: bottom}, {X: left, Y: top}, {X: left + b.width, Y: top}, {X: left + b.width, Y: bottom},
		})
	}
}

// Thumbnail is the colour in the legend.
func (b *bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{c.Min, {X: c.Min.X, Y: c.Max.Y}, c.Max, {X: c.Max.X, Y: c.Min.Y}})
}
