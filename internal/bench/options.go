package bench

import (
	"fmt"
	"time"
)

// Options says what Flows measures. The zero value is the whole benchmark.
type Options struct {
	Quick bool
	// Flows and Families narrow the benchmark down; empty: 1, 1024, 16384, 131072 and 1048576, both families.
	Flows    []int // powers of two; above 131072 they are inserted into the table, and the slow path is left out
	Families []string
	Rounds   int           // of each row; default 7
	Pairs    int           // of measurements of new connections; default 11, negative: none
	Window   time.Duration // of each measurement on our paths; default: as long as a lease, 1250 ms or more
	// Progress is told what is being done, and how much of all is done, 0 to 1.
	Progress func(what string, done float64)
}

func (o Options) withDefaults() Options {
	if o.Rounds == 0 {
		o.Rounds = 7
		if o.Quick {
			o.Rounds = 3
		}
	}
	if o.Pairs == 0 {
		o.Pairs = 11
		if o.Quick {
			o.Pairs = 5
		}
	}
	if len(o.Flows) == 0 {
		o.Flows = []int{1, 1 << 10, 1 << 14, 1 << 17, 1 << 20}
		if o.Quick {
			o.Flows = []int{1, 1 << 14}
		}
	}
	if len(o.Families) == 0 {
		o.Families = []string{familyIP, familyIP6}
		if o.Quick {
			o.Families = []string{familyIP}
		}
	}
	if o.Window == 0 && o.Quick {
		o.Window = 150 * time.Millisecond
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
	return o
}

// Limits of the number of flows.
const (
	mostLive = 1 << 17 // established in conntrack, whose usual limit is twice that
	most     = 1 << 20 // that the ports of the generator tell apart, and that memory is asked for
)

// Check finds what makes no sense in the options, before anything is done.
func (o Options) Check() error {
	for _, n := range o.Flows {
		if n < 1 || n > most || n&(n-1) != 0 {
			return fmt.Errorf("%d flows is not a power of two from 1 to %d", n, most)
		}
	}
	for _, f := range o.Families {
		if f != familyIP && f != familyIP6 {
			return fmt.Errorf("family %q is neither %s nor %s", f, familyIP, familyIP6)
		}
	}
	if o.Rounds < 0 {
		return fmt.Errorf("%d rounds are too few", o.Rounds)
	}
	return nil
}
