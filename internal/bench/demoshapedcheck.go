package bench

import (
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
)

// What must hold: how far a rate may be from the shaper's; how many packets hosts may send of themselves (multicast
// listener reports); how much shorter the preferred call must wait beside the upload.
const (
	rateTolerance = 0.05
	strayPackets  = 50
	preference    = 4
)

// checkRate compares the rate with the shaper's, by the kernel's counters and by what arrived of the upload. On a machine
// that is too busy for the shaper's timers the slow path falls short, too: then it is the measure.
func (d *shapedDemo) checkRate(name string, w window) {
	counted, least := w.total()/shaperRate, 1.0
	if slow := d.paths[PathSlow]; slow != nil {
		least = min(least, slow.BitsPerSecond/shaperRate)
	}
	arrived := w.rate(w.arrived) * uploadFrame / uploadSegment / w.rate(w.classes[classBulk].bytes)
	// The second thin flow is in the same class, and what is queued at the ends of the window counts once.
	const rest = 0.1
	ok := counted <= 1+rateTolerance && counted >= least*(1-rateTolerance) && math.Abs(arrived-1) <= rateTolerance+rest
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
