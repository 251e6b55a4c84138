package bench

import "time"

// window is what went through while the shaper was full.
type window struct {
	took    time.Duration
	classes map[uint32]volume
	arrived uint64 // payload of the upload, bytes
	totals  totals
}

// window takes readings around f.
func (d *shapedDemo) window(p *path, up *upload, f func() error) (w window, err error) {
	before, err := p.reading()
	if err != nil {
		return w, err
	}
	from, at, arrived, err := d.now(up)
	if err != nil {
		return w, err
	}
	if err := f(); err != nil {
		return w, err
	}
	to, end, all, err := d.now(up)
	if err != nil {
		return w, err
	}
	after, err := p.reading()
	if err != nil {
		return w, err
	}
	w = window{took: end.Sub(at), classes: map[uint32]volume{}, arrived: all - arrived, totals: after.since(before)}
	for class, v := range to {
		w.classes[class] = v.since(from[class])
	}
	return w, nil
}

func (d *shapedDemo) now(up *upload) (map[uint32]volume, time.Time, uint64, error) {
	c, err := d.bed.classes()
	return c, time.Now(), up.arrived.Load(), err
}

// rate is bits a second of a number of bytes.
func (w window) rate(bytes uint64) float64 { return float64(8*bytes) / w.took.Seconds() }

func (w window) total() float64 {
	return w.rate(w.classes[classInteractive].bytes + w.classes[classBulk].bytes + w.classes[classRest].bytes)
}

func (w window) share() float64 {
	return float64(w.totals.fast) / float64(max(w.totals.fast+w.totals.slow, 1))
}

// excuse says why packets were slow, when too many were.
func (w window) excuse() string {
	if w.share() >= minFast {
		return ""
	}
	return ": " + why(w.totals.reasons)
}
