package rules_test

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filter attaches a program as a filter of a clsact qdisc, where there is no tcx (before Linux 6.6). The caller is in the
// lab's namespace.
func (l *lab) filter(e *early) (detach func() error, err error) {
	index := int(e.d.Index)
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("add clsact to %s: %w", e.d.Name, err)
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          e.loaded.Entry.FD(), Name: "rules", DirectAction: true,
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return nil, fmt.Errorf("add filter to %s: %w", e.d.Name, err)
	}
	return func() error { return l.ns.Do(func() error { return netlink.FilterDel(filter) }) }, nil
}
