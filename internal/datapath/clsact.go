package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Before Linux 6.6 there is no tcx: the programs are filters of a clsact qdisc, with our preference and handle. A
// directory beside the pins remembers which qdiscs and filters are ours, so that withdraw leaves the rest.
const (
	filterPref   = 49000
	filterHandle = 1
)

func marker(dir string, ifindex uint32, what string) string {
	return filepath.Join(dir, fmt.Sprintf("clsact-%d-%s", ifindex, what))
}

func parent(place string) uint32 {
	if place == placeEgress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func clsact(ifindex uint32) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: int(ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

func attachClsact(dir string, ifindex uint32, place string, prog *ebpf.Program) error {
	err := netlink.QdiscAdd(clsact(ifindex))
	switch {
	case err == nil:
		if err := os.Mkdir(marker(dir, ifindex, "qdisc"), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("remember clsact: %w", err)
		}
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact: %w", err)
	}
	if err := os.Mkdir(marker(dir, ifindex, place), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("remember filter: %w", err)
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: int(ifindex), Parent: parent(place), Handle: filterHandle, Priority: filterPref, Protocol: unix.ETH_P_ALL,
		},
		Fd: prog.FD(), Name: "nfo_" + place, DirectAction: true,
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return fmt.Errorf("add filter: %w", err)
	}
	return nil
}

// detachClsact removes the filter of one place, and the qdisc with the last one if we made it and nobody else uses it.
func detachClsact(dir string, ifindex uint32, place string) error {
	if err := os.Remove(marker(dir, ifindex, place)); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("forget filter: %w", err)
	}
	err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: int(ifindex), Parent: parent(place), Handle: filterHandle, Priority: filterPref, Protocol: unix.ETH_P_ALL,
	}})
	if err != nil && !absent(err) {
		return fmt.Errorf("remove filter: %w", err)
	}
	for _, other := range []string{placeIngress, placeEgress} {
		if _, err := os.Stat(marker(dir, ifindex, other)); err == nil {
			return nil
		}
	}
	if err := os.Remove(marker(dir, ifindex, "qdisc")); errors.Is(err, os.ErrNotExist) {
		return nil // the qdisc was there before us
	} else if err != nil {
		return fmt.Errorf("forget clsact: %w", err)
	}
	used, err := filtersLeft(ifindex)
	if err != nil || used {
		return err
	}
	if err := netlink.QdiscDel(clsact(ifindex)); err != nil && !absent(err) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

// removeFilters removes our filters from all devices of the network namespace when nothing remembers them: they are known
// by preference, handle and name. The qdisc stays, empty and without effect, for it may be somebody else's.
func removeFilters() error {
	qdiscs, err := netlink.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("list qdiscs: %w", err)
	}
	var errs []error
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		for _, place := range []string{placeIngress, placeEgress} {
			errs = append(errs, removeFilter(uint32(q.Attrs().LinkIndex), place))
		}
	}
	return errors.Join(errs...)
}

func removeFilter(ifindex uint32, place string) error {
	dev, err := netlink.LinkByIndex(int(ifindex))
	if err != nil {
		return nil //nolint:nilerr // no device, no filters
	}
	filters, err := netlink.FilterList(dev, parent(place))
	if err != nil {
		return fmt.Errorf("list filters: %w", err)
	}
	for _, f := range filters {
		b, ok := f.(*netlink.BpfFilter)
		if !ok || b.Priority != filterPref || b.Handle != filterHandle || b.Name != "nfo_"+place {
			continue
		}
		if err := netlink.FilterDel(b); err != nil && !absent(err) {
			return fmt.Errorf("remove filter: %w", err)
		}
	}
	return nil
}

// absent says that what was to be removed, or its device, is gone already.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

func filtersLeft(ifindex uint32) (bool, error) {
	dev, err := netlink.LinkByIndex(int(ifindex))
	if err != nil {
		return false, nil //nolint:nilerr // no device, no filters
	}
	for _, p := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		fs, err := netlink.FilterList(dev, p)
		if err != nil {
			return false, fmt.Errorf("list filters: %w", err)
		}
		if len(fs) > 0 {
			return true, nil
		}
	}
	return false, nil
}
