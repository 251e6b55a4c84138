package bench

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// programs names what is attached to a device of the calling thread's namespace: XDP, tcx, and the clsact qdisc that
// tc filters need.
func programs(d device) ([]string, error) {
	l, err := netlink.LinkByIndex(d.index)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", d.name, err)
	}
	var on []string
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		on = append(on, fmt.Sprintf("an XDP program on %s", d.name))
	}
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		q, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: d.index, Attach: at})
		if errors.Is(err, ebpf.ErrNotSupported) {
			continue // before Linux 6.6 there is no tcx
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", d.name, err)
		}
		if len(q.Programs) > 0 {
			on = append(on, fmt.Sprintf("%d tcx programs on %s", len(q.Programs), d.name))
		}
	}
	qdiscs, err := netlink.QdiscList(l)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", d.name, err)
	}
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			on = append(on, fmt.Sprintf("a clsact qdisc on %s", d.name))
		}
	}
	return on, nil
}
