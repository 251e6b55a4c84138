package rules_test

import (
	"errors"
	"time"

	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// patience is how long counters that differ are not believed: a machine under load takes its time.
const patience = 2 * time.Second

// kernel sends frames to a device and returns what the counters of nftables and those of more programs say then, if
// it is not what is wanted. The ruleset is loaded and its counters are 0.
func (l *lab) kernel(d *device, text string, frames [][]byte, want sums, more func() (sums, error), wait time.Duration) ([]string, error) {
	if err := d.send(frames); err != nil {
		return nil, err
	}
	var diffs []string
	err := testkit.Await(wait, func() error {
		now, err := l.list(text)
		if err != nil {
			return err
		}
		got := kernelCounts(now)
		if more != nil {
			early, err := more()
			if err != nil {
				return err
			}
			for p, c := range early {
				got[p] = count{got[p].packets + c.packets, got[p].bytes + c.bytes}
			}
		}
		if diffs = compare("kernel", got, want); len(diffs) > 0 {
			return errors.New("counters differ")
		}
		return nil
	})
	if len(diffs) > 0 {
		err = nil
	}
	return diffs, err
}

// nft compares what nftables counts with what eval says.
func (l *lab) nft(d *device, text string, rs *ruleset.Ruleset, frames [][]byte, wait time.Duration) ([]string, error) {
	o := l.oracle(rs, d)
	want := sums{}
	for _, f := range frames {
		x, err := o.run(f)
		if err != nil {
			return nil, err
		}
		want.add(x)
	}
	return l.kernel(d, text, frames, want, nil, wait)
}
