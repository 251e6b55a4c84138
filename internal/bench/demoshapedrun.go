package bench

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// Where the two calls go: a port that examples/shaping.nft prefers, and one that shares the class of the upload.
const (
	preferredPort = 5004
	otherPort     = 6000
)

// Of each path: how long the calls are measured alone, then beside the upload, and what the upload has before that.
const (
	idleTime   = time.Second
	rampTime   = time.Second
	loadedTime = 3 * time.Second
)

// What must hold: how far a rate may be from the shaper's; how many packets hosts may send of themselves (multicast
// listener reports); how much shorter the preferred call must wait beside the upload.
const (
	rateTolerance = 0.05
	strayPackets  = 50
	preference    = 4
)

// sockets measures the calls alone and beside the upload on one path, and checks rate, classes and payload.
func (d *shapedDemo) sockets(ctx context.Context, p *path) error {
	begin, err := d.bed.classes()
	if err != nil {
		return err
	}
	var calls [2]*call
	for i, port := range []uint16{preferredPort, otherPort} {
		if calls[i], err = d.bed.topo.openCall(port); err != nil {
			return err
		}
		defer calls[i].close()
	}
	d.step(p.name + ": two thin flows alone")
	if _, err := talk(ctx, calls, idleTime/4); err != nil { // long enough to become fast
		return err
	}
	idle, err := talk(ctx, calls, idleTime)
	if err != nil {
		return err
	}
	d.step(p.name + ": two thin flows beside an upload")
	up, err := d.bed.topo.openUpload(ctx)
	if err != nil {
		return err
	}
	defer up.close()
	if err := pause(ctx, rampTime); err != nil {
		return err
	}
	var busy [2]conversation
	w, err := d.window(p, up, func() (err error) {
		busy, err = talk(ctx, calls, loadedTime)
		return err
	})
	if err != nil {
		return err
	}
	intact, err := up.finish()
	if err != nil {
		return err
	}
	end, err := d.bed.classes()
	if err != nil {
		return err
	}
	d.result(p, w, idle, busy)
	d.checkRate(p.name, w)
	d.checkClasses(p.name, calls[0].sent, begin, end)
	d.check(busy[0].waiting().Median*preference < busy[1].waiting().Median, p.name+": the preferred flow does not wait for the upload",
		"median %s, and %s in the class of the upload", micros(busy[0].waiting().Median), micros(busy[1].waiting().Median))
	back, sent := 0, 0
	for _, c := range []conversation{idle[0], idle[1], busy[0], busy[1]} {
		back, sent = back+c.intact, sent+c.sent
	}
	d.check(intact && back == sent, p.name+": payload", "%d MiB uploaded, sha256 %s; %d of %d datagrams came back as they were",
		up.arrived.Load()>>20, same(intact), back, sent)
	if p.totals != nil {
		d.check(w.share() >= minFast, p.name+": fast", "%.1f %% of %d packets beside the upload%s", 100*w.share(), w.totals.fast+w.totals.slow, w.excuse())
	}
	return nil
}

// talk has both calls talk at once.
func talk(ctx context.Context, calls [2]*call, while time.Duration) (out [2]conversation, err error) {
	var g errgroup.Group
	for i, c := range calls {
		g.Go(func() (err error) { out[i], err = c.talk(ctx, while); return err })
	}
	return out, g.Wait()
}

func pause(ctx context.Context, while time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(while):
		return nil
	}
}

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

func (d *shapedDemo) result(p *path, w window, idle, busy [2]conversation) {
	r := &ShapedPath{Path: p.name, BitsPerSecond: w.total()}
	if p.totals != nil {
		r.FastShare = w.share()
	}
	for i, class := range []struct {
		name   string
		handle uint32
	}{{"interactive", classInteractive}, {"bulk", classBulk}} {
		r.Classes = append(r.Classes, ShapedClass{
			Class: class.name, BitsPerSecond: w.rate(w.classes[class.handle].bytes),
			Idle: idle[i].waiting(), Loaded: busy[i].waiting(),
		})
	}
	d.paths[p.name] = r
}

// checkRate compares the rate with the shaper's, by the kernel's counters and by what arrived of the upload. More than the
// shaper allows is wrong; less may be the machine's, which has other work: then the slow path, just before, got no more.
func (d *shapedDemo) checkRate(name string, w window) {
	counted := w.total() / shaperRate
	arrived := w.rate(w.arrived) * uploadFrame / uploadSegment / w.rate(w.classes[classBulk].bytes)
	least := 0.5
	if slow := d.paths[PathSlow]; slow != nil && name != PathSlow {
		least = (1 - rateTolerance) * min(1, slow.BitsPerSecond/shaperRate)
	}
	// The second thin flow is in the same class, and what is queued at the ends of the window counts once.
	const rest = 0.1
	ok := counted <= 1+rateTolerance && counted >= least && math.Abs(arrived-1) <= rateTolerance+rest
	d.check(ok, name+": rate", "%.1f of %d Mbit/s by the kernel's counters; the upload is %.0f %% of its class",
		w.total()/1e6, shaperRate/1_000_000, 100*arrived)
}

// checkClasses makes sure that the preferred call had its class for itself, and that nothing was without a class.
func (d *shapedDemo) checkClasses(name string, sent uint64, begin, end map[uint32]volume) {
	of := func(class uint32) uint64 { return end[class].since(begin[class]).packets }
	d.check(of(classInteractive) == sent && of(classRest) <= strayPackets, name+": classes kept",
		"class 1:10 has %d packets of the %d of the preferred flow, 1:20 %d, and %d have no class",
		of(classInteractive), sent, of(classBulk), of(classRest))
}

// stays checks what becomes of the shaped direction where XDP is asked for.
func (d *shapedDemo) stays(ctx context.Context, p *path, dm *daemon) error {
	d.step("nft-offload at xdp, with the same shaper")
	up, err := d.bed.topo.openUpload(ctx)
	if err != nil {
		return err
	}
	defer up.close()
	if err := pause(ctx, rampTime); err != nil {
		return err
	}
	atTC := &path{name: PathTC, totals: func() (totals, error) { return dm.counters(ctx, PathTC) }}
	w, err := d.window(atTC, up, func() error { return pause(ctx, loadedTime) })
	if err != nil {
		return err
	}
	if _, err := up.finish(); err != nil {
		return err
	}
	left := w.classes[classBulk].packets
	ok := math.Abs(w.total()/shaperRate-1) <= rateTolerance && float64(w.totals.fast) >= minFast*float64(left)
	d.check(ok, p.name+": what leaves by the shaper stays at tc", "%.1f of %d Mbit/s; while %d packets left, %d were carried at tc",
		w.total()/1e6, shaperRate/1_000_000, left, w.totals.fast)
	return nil
}

// shaperLeft checks that the daemon took nothing of the administrator's away.
func (d *shapedDemo) shaperLeft() error {
	c, err := d.bed.classes()
	if err != nil {
		return err
	}
	kind := "none"
	err = d.bed.topo.router.do(func() error {
		l, err := netlink.LinkByIndex(d.bed.topo.r1.index)
		if err != nil {
			return err
		}
		qs, err := netlink.QdiscList(l)
		for _, q := range qs {
			if q.Attrs().Parent == netlink.HANDLE_ROOT {
				kind = q.Type()
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look at shaper: %w", err)
	}
	const all = 4
	d.check(kind == "htb" && len(c) == all, "tc: the shaper is left after the daemon", "root qdisc %s, %d of %d classes", kind, len(c), all)
	return nil
}

// micros renders a number of microseconds for people.
func micros(us float64) string {
	return (time.Duration(us*1000) * time.Nanosecond).Round(10 * time.Microsecond).String()
}
