package bench

import (
	"context"
	"time"

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
	ok := w.total() <= (1+rateTolerance)*shaperRate && float64(w.totals.fast) >= minFast*float64(left)
	d.check(ok, p.name+": what leaves by the shaper stays at tc", "%.1f of %d Mbit/s; while %d packets left, %d were carried at tc",
		w.total()/1e6, shaperRate/1_000_000, left, w.totals.fast)
	return nil
}
